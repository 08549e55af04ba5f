"""What makes a release: wheels, what is linked into them, and the files beside them."""
