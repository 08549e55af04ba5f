//! A log, its writer and its rotation, made up from a seed, beside the follower under test.

mod copies;
mod naming;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kojuto_io::follow::{Followed, How, LineSink, Options, Scan, Task, follow_all};
use kojuto_io::{Error, Never};

use self::naming::Naming;

/// xorshift64*: small, and the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rotation {
    Rename,
    CopyTruncate,
    /// The log is a symbolic link, or a second name, of one file after the other.
    Link,
    HardLink,
}

impl Rotation {
    fn is_link(self) -> bool {
        matches!(self, Rotation::Link | Rotation::HardLink)
    }
}

/// A rotated file by its name without a compressor's ending.
#[derive(Debug, Clone)]
struct Old {
    plain: PathBuf,
    /// Committed runs when it was rotated.
    since_run: u32,
    ending: &'static str,
    /// A writer had it after it was renamed, or the link led back to it.
    lingered: bool,
    /// Its content tells it from others: it has two lines or more.
    tells: bool,
}

impl Old {
    fn path(&self) -> PathBuf {
        with_ending(&self.plain, self.ending)
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Everything outside the follower: the files and who writes them.
pub(crate) struct Scene {
    random: Random,
    rotation: Rotation,
    naming: Naming,
    _keep: tempfile::TempDir,
    dir: PathBuf,
    archive: PathBuf,
    use_archive: bool,
    log: PathBuf,
    /// What the log leads to, when it is a link.
    target: PathBuf,
    /// How many seconds the clock of the runs has been set back, where that happens.
    set_back_s: Option<u64>,
    /// The writer's descriptor, on the log or on a file that was renamed under it.
    writer: Option<File>,
    /// The writer still has the renamed file.
    lingers: bool,
    /// Where among `old` that is.
    held: usize,
    /// The target is one that the link had left before.
    led_back: bool,
    /// The bytes of the line that was begun, as far as written and what is still to come.
    begun: Option<(Vec<u8>, Vec<u8>)>,
    /// Newest first.
    old: Vec<Old>,
    next_line: u64,
    next_date: u64,
    runs: u32,
    written: BTreeMap<Vec<u8>, u32>,
    inodes: HashSet<u64>,
    pub(crate) story: Vec<String>,
}

impl Scene {
    fn tell(&mut self, text: String) {
        self.story.push(text);
    }

    fn make_line(&mut self) -> Vec<u8> {
        self.next_line += 1;
        let mut line = format!("time:{:08} ", self.next_line).into_bytes();
        let padding = match self.random.below(100) {
            0 => 100_000 + self.random.below(300_000),
            1..4 => self.random.below(20_000),
            10..30 => 0,
            _ => self.random.below(300),
        };
        let piece: &[u8] = if self.random.chance(10) { b"\0\xff\r\0xx " } else { b"xxxxxxx" };
        line.extend(piece.iter().cycle().take(padding as usize));
        if self.random.chance(20) {
            line.push(b'\r');
        }
        line
    }

    fn count_written(&mut self, line: Vec<u8>) {
        *self.written.entry(line).or_default() += 1;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.writer.as_mut().expect("a writer").write_all(bytes).expect("written");
    }

    fn complete(&mut self) {
        if let Some((mut done, rest)) = self.begun.take() {
            self.write(&rest);
            self.write(b"\n");
            done.extend_from_slice(&rest);
            self.tell(format!("complete line of {} bytes", done.len()));
            self.count_written(done);
        }
    }

    fn append(&mut self) {
        if self.writer.is_none() {
            return self.reopen();
        }
        self.complete();
        let most = if self.random.chance(5) { 700 } else { 8 };
        let count = 1 + self.random.below(most);
        self.tell(format!("append {count} lines from {}", self.next_line + 1));
        let mut bytes = Vec::new();
        for _ in 0..count {
            let line = self.make_line();
            bytes.extend_from_slice(&line);
            bytes.push(b'\n');
            self.count_written(line);
        }
        self.write(&bytes);
    }

    fn begin_line(&mut self) {
        if self.writer.is_none() {
            return;
        }
        match self.begun.take() {
            Some((mut done, rest)) => {
                let more = self.random.below(rest.len() as u64 + 1) as usize;
                self.write(&rest[..more]);
                done.extend_from_slice(&rest[..more]);
                self.tell(format!("go on with a line: {} bytes now", done.len()));
                self.begun = Some((done, rest[more..].to_vec()));
            }
            None => {
                let line = self.make_line();
                let first = 1 + self.random.below(line.len() as u64) as usize;
                self.write(&line[..first]);
                self.tell(format!("begin line {} with {first} bytes", self.next_line));
                self.begun = Some((line[..first].to_vec(), line[first..].to_vec()));
            }
        }
    }

    /// The writer gives up its file; a line it had begun stays as it is.
    fn close(&mut self) {
        if self.writer.take().is_some() {
            if std::mem::take(&mut self.lingers)
                && let Some(old) = self.old.get_mut(self.held)
            {
                old.since_run = self.runs;
                old.lingered = true;
            }
            if let Some((done, _)) = self.begun.take() {
                self.tell(format!("the writer ends with {} bytes of a line", done.len()));
                self.count_written(done);
            }
        }
    }

    fn create(&mut self) {
        if self.rotation.is_link() {
            self.target = self.next_name();
            self.begin_file();
            return self.link();
        }
        self.begin_file();
    }

    fn begin_file(&mut self) {
        let path = self.target.clone();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for attempt in 0.. {
            let file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
            let inode = file.metadata().unwrap().ino();
            // An inode number that was in use within the same tick of the clock cannot be told
            // from the old file by its birth; a real log lives longer than 4 ms.
            if self.inodes.insert(inode) || attempt > 0 {
                break;
            }
            drop(file);
            fs::remove_file(&path).unwrap();
            std::thread::sleep(Duration::from_millis(12));
        }
    }

    fn reopen(&mut self) {
        if self.writer.is_some() && !self.lingers && self.log.exists() {
            return;
        }
        if self.lingers && self.random.chance(50) {
            self.complete();
        }
        self.close();
        if !self.log.exists() {
            self.create();
        }
        self.writer = Some(OpenOptions::new().append(true).open(&self.log).unwrap());
        let inode = fs::metadata(&self.log).unwrap().ino();
        self.tell(format!("reopen the log (inode {inode})"));
    }

    fn rotate(&mut self) {
        if !self.log.exists() || self.old.len() > 25 {
            return;
        }
        if self.rotation.is_link() {
            return self.turn_link();
        }
        let by_copy = self.rotation == Rotation::CopyTruncate;
        let plain = self.next_name();
        let size = fs::metadata(&self.log).unwrap().len();
        if by_copy {
            if self.lingers {
                self.close();
            }
            fs::copy(&self.log, &plain).unwrap();
            let file = OpenOptions::new().write(true).open(&self.log).unwrap();
            file.set_len(0).unwrap();
            self.tell(format!("copytruncate {size} bytes to {}", plain.display()));
        } else {
            if self.lingers {
                // Its file is older than this one; a writer has one file at a time.
                self.close();
            }
            fs::rename(&self.log, &plain).unwrap();
            let way = self.random.below(4);
            self.tell(format!("rename {size} bytes to {}, way {way}", plain.display()));
            match way {
                0 => {
                    // create, the writer is told later
                    self.create();
                    self.lingers = self.writer.is_some();
                }
                1 => self.lingers = self.writer.is_some(), // nocreate, told later
                2 => self.close(),                         // gone until it is started again
                _ => {
                    self.close();
                    self.reopen();
                }
            }
        }
        self.remember_left(plain);
    }

    /// Where among `old` those begin that no writer has.
    fn begins_free(&self) -> usize {
        if self.lingers { self.held + 1 } else { 0 }
    }

    fn compress(&mut self) {
        let skip = self.begins_free();
        // A file that was tiny at the last run, grew after it was renamed and is compressed before
        // the next one is the one thing that no fingerprint can tell.
        let known = |old: &Old| !old.lingered || old.since_run < self.runs;
        let plain: Vec<usize> = (skip..self.old.len())
            .filter(|&index| self.old[index].ending.is_empty() && known(&self.old[index]))
            .collect();
        if plain.is_empty() {
            return;
        }
        let index = plain[self.random.below(plain.len() as u64) as usize];
        let from = self.old[index].path();
        let ending = [".gz", ".zst"][self.random.below(2) as usize];
        let to = with_ending(&self.old[index].plain, ending);
        let content = fs::read(&from).unwrap();
        let cut = self.random.below(content.len() as u64 + 1) as usize;
        let mut packed = Vec::new();
        let members: &[&[u8]] =
            if self.random.chance(30) { &[&content[..cut], &content[cut..]] } else { &[&content] };
        for member in members {
            packed.extend(if ending == ".gz" { gzip(member) } else { zstandard(member) });
        }
        let times = fs::metadata(&from).unwrap();
        fs::write(&to, &packed[..packed.len() / 2]).unwrap();
        if self.random.chance(15) {
            // The compressor is still at work; it starts anew later.
            self.tell(format!("half compress {}", to.display()));
            self.old[index].ending = "";
            return;
        }
        let mut file = File::create(&to).unwrap();
        file.write_all(&packed).unwrap();
        let stamp = fs::FileTimes::new().set_modified(times.modified().unwrap());
        file.set_times(stamp).unwrap();
        fs::remove_file(&from).unwrap();
        self.tell(format!("compress to {}", to.display()));
        self.old[index].ending = ending;
        self.old[index].tells = copies::do_tell(&content);
        let other =
            with_ending(&self.old[index].plain, if ending == ".gz" { ".zst" } else { ".gz" });
        let _ = fs::remove_file(other);
    }

    fn delete(&mut self) {
        // Only what two committed runs have had the time to read.
        if self.old.len() > self.begins_free()
            && self.old.last().is_some_and(|old| old.since_run + 2 <= self.runs)
        {
            let old = self.old.pop().unwrap();
            for ending in ["", ".gz", ".zst"] {
                let _ = fs::remove_file(with_ending(&old.plain, ending));
            }
            self.tell(format!("delete {}", old.path().display()));
        }
    }

    fn disturb(&mut self) {
        match self.random.below(3) {
            0 => self.append(),
            1 => self.rotate(),
            _ => {
                self.rotate();
                self.append();
            }
        }
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// The follower's sink; now and then something happens to the files in the middle of its work.
#[derive(Clone)]
struct Sink<'a> {
    scene: Arc<Mutex<&'a mut Scene>>,
    lines: Vec<Vec<u8>>,
    disturb_at: Option<u32>,
    blocks: u32,
}

impl LineSink for Sink<'_> {
    fn block(&mut self, lines: &[u8]) {
        assert_eq!(lines.last(), Some(&b'\n'), "a block is whole lines");
        self.lines.extend(lines[..lines.len() - 1].split(|&b| b == b'\n').map(<[u8]>::to_vec));
        if self.disturb_at == Some(self.blocks) {
            let mut scene = self.scene.lock().unwrap();
            scene.tell("during the run:".to_owned());
            scene.disturb();
        }
        self.blocks += 1;
    }
}

impl Scan for Sink<'_> {
    fn merge(&mut self, _: Self) {
        unreachable!("one thread scans");
    }
}

pub(crate) struct World {
    seed: u64,
    scene: Scene,
    state: PathBuf,
    counted: BTreeMap<Vec<u8>, u32>,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let memory = Path::new("/dev/shm");
        let keep = if seed.is_multiple_of(4) || !memory.is_dir() {
            tempfile::tempdir().unwrap()
        } else {
            tempfile::tempdir_in(memory).unwrap()
        };
        let dir = keep.path().join("log");
        let archive = keep.path().join("archive");
        fs::create_dir(&dir).unwrap();
        fs::create_dir(&archive).unwrap();
        let rotation = match random.below(6) {
            0 | 1 => Rotation::Rename,
            2 | 3 => Rotation::CopyTruncate,
            4 => Rotation::Link,
            _ => Rotation::HardLink,
        };
        let naming = Naming::any(rotation, &mut random);
        let use_archive = random.chance(25) && !rotation.is_link();
        let set_back_s = random.chance(30).then_some(0);
        let state = keep.path().join("state");
        let log = naming::log(rotation, naming, &dir);
        let mut scene = Scene {
            random,
            rotation,
            naming,
            _keep: keep,
            dir,
            archive,
            use_archive,
            target: log.clone(),
            set_back_s,
            log,
            writer: None,
            lingers: false,
            held: 0,
            led_back: false,
            begun: None,
            old: Vec::new(),
            next_line: 0,
            next_date: 0,
            runs: 0,
            written: BTreeMap::new(),
            inodes: HashSet::new(),
            story: vec![format!("seed {seed}: {rotation:?}, {naming:?}, archive {use_archive}")],
        };
        scene.reopen();
        let mut world = World { seed, scene, state, counted: BTreeMap::new() };
        // The first run never looks behind the live log, so it comes before any rotation.
        world.run(true, false).expect("a first run");
        world
    }

    pub(crate) fn step(&mut self) -> Result<(), String> {
        match self.scene.random.below(100) {
            0..28 => self.scene.append(),
            28..42 => self.scene.begin_line(),
            42..56 => self.scene.rotate(),
            56..64 => self.scene.compress(),
            64..69 => self.scene.reopen(),
            69..72 => self.scene.delete(),
            72..76 => self.scene.copy_something(),
            76..77 => self.scene.make_undecodable(),
            77..78 => self.scene.set_clock_back(),
            78..82 => self.run(false, false)?,
            82..87 => self.run(true, true)?,
            _ => self.run(true, false)?,
        }
        Ok(())
    }

    /// Ends the writer, lets the follower catch up and compares all that was written with all that
    /// was counted.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.scene.reopen();
        self.scene.complete();
        self.scene.append();
        self.scene.close();
        for _ in 0..3 {
            self.run(true, false)?;
        }
        for (line, &count) in &self.scene.written {
            let counted = self.counted.get(line).copied().unwrap_or(0);
            if counted != count {
                return Err(self.fail(&format!("written {count}, counted {counted}"), line));
            }
        }
        Ok(())
    }

    fn run(&mut self, commit: bool, disturb: bool) -> Result<(), String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = now - Duration::from_secs(self.scene.set_back_s.unwrap_or_default());
        let archive_dirs = vec![self.scene.archive.clone()];
        let options = Options { archive_dirs, max_read_bytes: 1 << 40, ..Options::default() };
        let log = self.scene.log.clone();
        let disturb_at = disturb.then(|| self.scene.random.below(3) as u32);
        let scene = Arc::new(Mutex::new(&mut self.scene));
        let scan = Sink { scene, lines: Vec::new(), disturb_at, blocks: 0 };
        let position_file = self.state.clone();
        let tasks = vec![Task { log, position_file, legacy_position_file: None, scan }];
        let how = How { options, threads: 1, now, side_by_side: false };
        let result = follow_all(tasks, &how, &Never).unwrap().remove(0);
        let result = result.map(|Followed { scan, report, follower }| {
            let Sink { lines, .. } = scan;
            (lines, report, follower)
        });
        let what = if commit { "run" } else { "run, killed" };
        let (lines, mut follower) = match result {
            Ok((lines, report, follower)) => {
                let notes: Vec<_> = report.notes.into_iter().map(|note| note.text).collect();
                let notes = notes.join("; ");
                self.scene.tell(format!("{what}: {} lines; {notes}", lines.len()));
                (lines, follower)
            }
            Err(Error::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound
                    || source.to_string().contains("rotated while it was read") =>
            {
                self.scene.tell(format!("{what}: no result: {source}"));
                let quiet = !disturb && source.kind() != io::ErrorKind::NotFound;
                return match quiet {
                    true => Err(self.fail("nothing moved, but the run has no result", b"")),
                    false => Ok(()),
                };
            }
            Err(error) => return Err(self.fail(&format!("the run failed: {error}"), b"")),
        };
        // What is carried moves on with the position: the lines that committed runs have counted.
        let so_far: u32 = self.counted.values().sum();
        let carried: Vec<_> =
            follower.carried().map(|(name, value)| (name.to_owned(), value)).collect();
        if self.scene.runs > 0 && carried != [("lines".to_owned(), f64::from(so_far))] {
            return Err(self.fail(&format!("{so_far} lines so far, but carried {carried:?}"), b""));
        }
        let total = f64::from(so_far) + lines.len() as f64;
        follower.stage([("lines".to_owned(), total)]).unwrap();
        if !commit {
            return Ok(()); // dropped: killed, or its output failed
        }
        follower.commit().unwrap();
        // An unfinished line waits while the writer has its file, while there is no new one, and
        // while it goes on after a truncation; what it waits in must not be deleted.
        let nothing_waits = self.scene.begun.is_none() && !self.scene.lingers;
        self.scene.runs += u32::from(nothing_waits && self.scene.log.exists());
        let state = fs::read_to_string(&self.state).unwrap();
        self.scene.tell(format!("    state {state}"));
        for line in lines {
            let count = self.counted.entry(line.clone()).or_default();
            *count += 1;
            let count = *count;
            if count > self.scene.written.get(&line).copied().unwrap_or(0) {
                return Err(self.fail(&format!("counted {count} times, not written so"), &line));
            }
        }
        Ok(())
    }

    fn fail(&self, what: &str, line: &[u8]) -> String {
        let shown = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        let story = self.scene.story.join("\n");
        let seed = self.seed;
        format!("{story}\nseed {seed}: {what}: line of {} bytes: {shown:?}", line.len())
    }
}
