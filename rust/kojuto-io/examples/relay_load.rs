//! The two ends of a relay under measurement: `relay_load serve echo|sink PORT`,
//! `relay_load source PORT BYTES` (which talks first and alone) and the clients
//! `bulk PORT BYTES`, `pull PORT`, `rtt PORT COUNT`, `rate PORT COUNT`, `fan PORT CONNECTIONS ROUNDS`, each of
//! which prints the seconds that its work took; with RELAY_LOAD_CONGESTION=NAME the clients choose
//! their congestion control (tcp(7)). Only for `make bench`.
#![allow(clippy::print_stdout, reason = "a command-line program")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", kind, port] => serve(kind == "echo", port.parse()?),
        ["source", port, bytes] => source(port.parse()?, bytes.parse()?),
        ["pull", port] => pull(port.parse()?),
        ["bulk", port, bytes] => bulk(port.parse()?, bytes.parse()?),
        ["rtt", port, count] => rtt(port.parse()?, count.parse()?),
        ["rate", port, count] => rate(port.parse()?, count.parse()?),
        ["fan", port, connections, rounds] => {
            fan(port.parse()?, connections.parse()?, rounds.parse()?)
        }
        _ => Err("see the head of relay_load.rs".into()),
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    if let Ok(name) = std::env::var("RELAY_LOAD_CONGESTION") {
        let (level, option) = (libc::IPPROTO_TCP, libc::TCP_CONGESTION);
        // SAFETY: `name` is readable for its length.
        let done = unsafe {
            libc::setsockopt(
                stream.as_raw_fd(),
                level,
                option,
                name.as_ptr().cast(),
                name.len() as libc::socklen_t,
            )
        };
        if done != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(stream)
}

fn watch(epoll: RawFd, fd: RawFd) {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: fd as u64 };
    // SAFETY: the event lives for the call.
    unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
}

/// One thread, level-triggered; answers what it reads, or throws it away.
fn serve(echo: bool, port: u16) -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    // SAFETY: no pointers; a longer queue than the standard library asks for.
    unsafe { libc::listen(listener.as_raw_fd(), 4096) };
    listener.set_nonblocking(true)?;
    // SAFETY: no pointers.
    let epoll = unsafe { libc::epoll_create1(0) };
    watch(epoll, listener.as_raw_fd());
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    loop {
        // SAFETY: room for as many events as are asked for.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 256, -1) };
        for event in &events[..count.max(0) as usize] {
            let fd = event.u64 as usize;
            if fd == listener.as_raw_fd() as usize {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let fd = stream.as_raw_fd() as usize;
                    watch(epoll, fd as RawFd);
                    if streams.len() <= fd {
                        streams.resize_with(fd + 1, || None);
                    }
                    streams[fd] = Some(stream);
                }
                continue;
            }
            let Some(stream) = streams.get_mut(fd).and_then(Option::as_mut) else { continue };
            let ended = match stream.read(&mut buffer) {
                Ok(0) | Err(_) => true,
                Ok(count) => echo && stream.write_all(&buffer[..count]).is_err(),
            };
            if ended {
                streams[fd] = None;
            }
        }
    }
}

fn bulk(port: u16, bytes: usize) -> Outcome {
    let mut stream = connect(port)?;
    let block = vec![7u8; 256 << 10];
    let began = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let count = left.min(block.len());
        stream.write_all(&block[..count])?;
        left -= count;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    println!("{}", began.elapsed().as_secs_f64());
    Ok(())
}

/// One connection after the other: gives so many bytes and waits for the peer's end.
fn source(port: u16, bytes: usize) -> Outcome {
    let block = vec![7u8; 256 << 10];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut left = bytes;
        while left > 0 {
            match stream.write(&block[..left.min(block.len())]) {
                Ok(count) => left -= count,
                Err(_) => break,
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read(&mut [0]);
    }
    Ok(())
}

fn pull(port: u16) -> Outcome {
    let mut stream = connect(port)?;
    let mut buffer = vec![0; 256 << 10];
    let began = Instant::now();
    let mut count = 0u64;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            read => count += read as u64,
        }
    }
    if count == 0 {
        return Err("nothing came".into());
    }
    println!("{}", began.elapsed().as_secs_f64());
    Ok(())
}

fn rtt(port: u16, count: usize) -> Outcome {
    let mut stream = connect(port)?;
    let (message, mut answer) = ([7u8; 64], [0u8; 64]);
    for round in 0.. {
        if round == count / 10 {
            break;
        }
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
    }
    let began = Instant::now();
    for _ in 0..count {
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
    }
    println!("{}", began.elapsed().as_secs_f64());
    Ok(())
}

fn rate(port: u16, count: usize) -> Outcome {
    const CLIENTS: usize = 16;
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            std::thread::spawn(move || -> std::io::Result<()> {
                for _ in 0..count / CLIENTS {
                    let mut stream = connect(port)?;
                    stream.write_all(b"x")?;
                    stream.read_exact(&mut [0])?;
                }
                Ok(())
            })
        })
        .collect();
    for client in clients {
        client.join().map_err(|_| "a client panicked")??;
    }
    println!("{}", began.elapsed().as_secs_f64());
    Ok(())
}

/// Opens connections, says so, waits for a line of input, then sends around over all of them.
fn fan(port: u16, connections: usize, rounds: usize) -> Outcome {
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        streams.push(connect(port)?);
    }
    let (message, mut answer) = ([7u8; 64], [0u8; 64]);
    for stream in &mut streams {
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
    }
    println!("open");
    std::io::stdin().read_line(&mut String::new())?;
    let began = Instant::now();
    for _ in 0..rounds {
        for stream in &mut streams {
            stream.write_all(&message)?;
            stream.read_exact(&mut answer)?;
        }
    }
    println!("{}", began.elapsed().as_secs_f64());
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
