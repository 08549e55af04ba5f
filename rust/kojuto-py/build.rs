//! Makes the launchers executable: a source distribution keeps no modes, and what is not executable
//! in a wheel is not executable when pip has installed it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

const LAUNCHERS: &str = "../../kojuto.data/scripts";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={LAUNCHERS}");
    println!("cargo::rerun-if-changed=build.rs");
    for launcher in fs::read_dir(LAUNCHERS)? {
        let path = launcher?.path();
        if fs::metadata(&path)?.permissions().mode() & 0o777 != 0o755 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}
