"""What both gateways share: accepting WebSockets, compression, request heads, maps."""
