//! A log in a folder of its own, and the follower under test.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kojuto_io::follow::{Follower, LineSink, Options, Report};
use kojuto_io::{Never, Result};

pub(crate) struct Place {
    _keep: tempfile::TempDir,
    pub(crate) dir: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) options: Options,
}

#[derive(Default)]
pub(crate) struct Lines(pub(crate) Vec<u8>);

impl LineSink for Lines {
    fn block(&mut self, lines: &[u8]) {
        assert_eq!(lines.last(), Some(&b'\n'));
        self.0.extend_from_slice(lines);
    }
}

pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

impl Place {
    pub(crate) fn new() -> Place {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path().join("log");
        fs::create_dir(&dir).unwrap();
        let log = dir.join("access.log");
        let state = keep.path().join("state");
        Place { _keep: keep, dir, log, state, options: Options::default() }
    }

    pub(crate) fn try_run(&self, now: Duration, commit: bool) -> Result<(String, Report)> {
        let mut sink = Lines::default();
        let mut follower = Follower::open(&self.log, &self.state, None, self.options.clone())?;
        let report = follower.run(now, &mut sink, &Never)?;
        if commit {
            follower.commit()?;
        }
        assert_eq!(report.bytes, sink.0.len() as u64);
        Ok((String::from_utf8_lossy(&sink.0).into_owned(), report))
    }

    pub(crate) fn run(&self) -> (String, Report) {
        self.try_run(now(), true).unwrap()
    }

    pub(crate) fn lines(&self) -> String {
        self.run().0
    }

    pub(crate) fn append(&self, text: &str) -> File {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.log).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    pub(crate) fn rename(&self, to: &str) -> PathBuf {
        let to = self.dir.join(to);
        fs::rename(&self.log, &to).unwrap();
        to
    }

    pub(crate) fn copytruncate(&self, to: &str) {
        fs::copy(&self.log, self.dir.join(to)).unwrap();
        OpenOptions::new().write(true).open(&self.log).unwrap().set_len(0).unwrap();
    }

    pub(crate) fn compress(&self, name: &str, ending: &str) {
        let path = self.dir.join(name);
        let content = fs::read(&path).unwrap();
        let packed = match ending {
            "gz" => {
                // Two members, as some rotators append.
                let half = content.len() / 2;
                [gzip(&content[..half]), gzip(&content[half..])].concat()
            }
            "zst" => zstd::encode_all(&content[..], 1).unwrap(),
            "xz" => packed_by("xz", &path),
            "bz2" => packed_by("bzip2", &path),
            "lz4" => packed_by("lz4", &path),
            _ => unreachable!("{ending}"),
        };
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let mut file = File::create(self.dir.join(format!("{name}.{ending}"))).unwrap();
        file.write_all(&packed).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(modified)).unwrap();
        fs::remove_file(path).unwrap();
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What a program makes of a file.
fn packed_by(program: &str, path: &Path) -> Vec<u8> {
    let done = Command::new(program).arg("-c").stdin(File::open(path).unwrap()).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error} (make servers installs it)"));
    assert!(done.status.success(), "{program}");
    done.stdout
}

/// Lines long enough that a file is known by its first ones.
pub(crate) fn numbered(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{n:06} GET /somewhere HTTP/1.1 200 0.001 some more text\n")).collect()
}
