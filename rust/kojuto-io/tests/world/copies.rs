//! What people, editors and cron jobs leave beside a log.

use super::*;

/// One short line alone tells nothing: a copy of it may be a file of its own.
pub(super) fn do_tell(content: &[u8]) -> bool {
    content.iter().filter(|&&byte| byte == b'\n').count() >= 2 && content.len() >= 64
}

impl Scene {
    /// Copies the log or a file of it under a name that rotation might have given.
    pub(super) fn copy_something(&mut self) {
        // A clock that was set back tells no copy that was made before from a new file.
        if self.set_back_s.is_some() {
            return;
        }
        let number = self.random.below(self.old.len() as u64 + 1) as usize;
        let from = match self.old.get(number) {
            Some(old) => old.path(),
            None => self.log.clone(),
        };
        let Ok(content) = fs::read(&from) else { return };
        let is_packed = from.extension().is_some_and(|ending| ending == "gz" || ending == "zst");
        let tells = match self.old.get(number) {
            Some(old) if is_packed => old.tells,
            _ => do_tell(&content),
        };
        if !tells {
            return;
        }
        let name = from.file_name().unwrap().to_str().unwrap().to_owned();
        let target = self.target.file_name().unwrap().to_str().unwrap().to_owned();
        let to = match self.random.below(8) {
            _ if is_packed => self.archive.join(&name),
            0 => self.dir.join(format!("{target}.bak")),
            1 => self.dir.join(format!("{target}.orig")),
            2 => self.dir.join(format!("{target}~")),
            3 => self.dir.join("access.log-20250101"),
            4 => self.dir.join("access-20250102.log"),
            5 => self.dir.join("access.log.old"),
            6 => self.dir.join("20250103__access.log"),
            _ => self.archive.join(&name),
        };
        if to == from || self.old.iter().any(|old| old.path() == to) || to == self.log {
            return;
        }
        let times = fs::metadata(&from).unwrap().modified().unwrap();
        fs::write(&to, &content).unwrap();
        let keeps_time = self.random.chance(50);
        if keeps_time {
            let file = File::options().write(true).open(&to).unwrap();
            file.set_times(fs::FileTimes::new().set_modified(times)).unwrap();
        }
        self.tell(format!("copy {} to {}, time {keeps_time}", from.display(), to.display()));
    }

    /// A file that says it is compressed and is not.
    pub(super) fn make_undecodable(&mut self) {
        let name = ["access.log.77.gz", "access.log-20250104.zst", "access-20250105.log.gz"]
            [self.random.below(3) as usize];
        fs::write(self.dir.join(name), "no line of this log\n".repeat(20)).unwrap();
        self.tell(format!("make {name}, which cannot be unpacked"));
    }
}
