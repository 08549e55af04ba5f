//! What rotated files are called, and what a link leads to.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Naming {
    Numbers,
    NumberBeforeExtension,
    Dates,
    DateBeforeExtension,
    DateBeforeName,
    /// A date without a separator, and a number: `access20260101_001.log`.
    DateWithinName,
    /// Hours of a clock that is set back now and then.
    Hours,
    /// Two rotators, one of which numbers.
    Both,
    /// Of a link: a folder for each file.
    Folders,
}

impl Naming {
    pub(super) fn any(rotation: Rotation, random: &mut Random) -> Naming {
        use Naming::*;
        // A line that copytruncate cut in two is only found by the order.
        let all: &[Naming] = match rotation {
            Rotation::Rename => &[
                Numbers,
                Numbers,
                NumberBeforeExtension,
                Dates,
                DateBeforeExtension,
                DateBeforeName,
                DateWithinName,
                Hours,
                Both,
            ],
            Rotation::CopyTruncate => {
                &[Numbers, Numbers, NumberBeforeExtension, Dates, DateBeforeExtension]
            }
            Rotation::Link => &[Dates, DateBeforeExtension, DateWithinName, Hours, Folders],
            Rotation::HardLink => &[Dates, DateBeforeExtension, DateWithinName, Hours],
        };
        all[random.below(all.len() as u64) as usize]
    }
}

pub(super) fn log(rotation: Rotation, naming: Naming, dir: &Path) -> PathBuf {
    dir.join(match (rotation, naming) {
        (Rotation::Link, Naming::Folders) => "current/access.log",
        (Rotation::Link | Rotation::HardLink, _) => "current",
        _ => "access.log",
    })
}

impl Scene {
    pub(super) fn next_name(&mut self) -> PathBuf {
        self.next_date += 1;
        let dir = if self.use_archive { self.archive.clone() } else { self.dir.clone() };
        let date = self.next_date;
        let name = match self.naming {
            Naming::Both if self.random.chance(50) => format!("access.log-{}", 20_260_100 + date),
            Naming::Numbers | Naming::Both => return self.move_up("access.log.", ""),
            Naming::NumberBeforeExtension => return self.move_up("access.", ".log"),
            Naming::Dates => format!("access.log-{}", 1_700_000_000 + date),
            Naming::DateBeforeExtension => format!("access-{}.log", 20_260_101 + date),
            Naming::DateBeforeName => format!("{}__access.log", 20_260_101 + date),
            Naming::DateWithinName => {
                format!("access{}_{:03}.log", 20_260_101 + date / 5, date % 5)
            }
            Naming::Folders => format!("2026-{:02}-{:02}/access.log", 1 + date / 20, 1 + date % 20),
            Naming::Hours => {
                if self.random.chance(30) {
                    self.next_date = date.saturating_sub(3).max(1);
                }
                let name = |hour: u64| format!("access.log-{}", 2_026_110_100 + hour);
                while [".gz", ".zst", ""]
                    .iter()
                    .any(|ending| dir.join(name(self.next_date) + ending).exists())
                {
                    self.next_date += 1;
                }
                name(self.next_date)
            }
        };
        dir.join(name)
    }

    /// Gives all numbered files the next number; answers the name that is free then.
    fn move_up(&mut self, before: &str, after: &str) -> PathBuf {
        let dir = if self.use_archive { &self.archive } else { &self.dir };
        for old in self.old.iter_mut().rev() {
            let name = old.plain.file_name().unwrap().to_str().unwrap();
            let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) else {
                continue;
            };
            let plain = dir.join(format!("{before}{}{after}", number + 1));
            for ending in ["", ".gz", ".zst"] {
                let _ = fs::rename(with_ending(&old.plain, ending), with_ending(&plain, ending));
            }
            old.plain = plain;
        }
        dir.join(format!("{before}1{after}"))
    }

    /// Has the log's name lead to the target.
    pub(super) fn link(&self) {
        let link = match self.naming {
            Naming::Folders => self.log.parent().unwrap(),
            _ => &self.log,
        };
        let _ = fs::remove_file(link);
        match (self.rotation, self.naming) {
            (Rotation::HardLink, _) => fs::hard_link(&self.target, link).unwrap(),
            (_, Naming::Folders) => {
                std::os::unix::fs::symlink(self.target.parent().unwrap(), link).unwrap();
            }
            _ => std::os::unix::fs::symlink(&self.target, link).unwrap(),
        }
    }

    pub(super) fn turn_link(&mut self) {
        // A writer may have the file of two turns ago.
        let lingered = self.lingers && self.random.chance(30);
        if self.lingers && !lingered {
            self.close();
        }
        let mut lingers = lingered || self.random.chance(40) && self.writer.is_some();
        if !lingers {
            self.close();
        }
        self.lingers = lingers;
        self.held = if lingered { self.held + 1 } else { 0 };
        let left = self.target.clone();
        self.remember_left(left);
        match self.random.chance(20).then(|| self.earlier_target()).flatten() {
            Some(at) => lingers &= self.lead_back(at),
            None => self.create(),
        }
        self.lingers = lingers;
        self.tell(format!("turn the link to {}, writer lingers {lingers}", self.target.display()));
        if self.writer.is_none() {
            self.reopen();
        }
    }

    /// One of the files that the link has left, and that are plain still.
    fn earlier_target(&mut self) -> Option<usize> {
        let plain = |at: &usize| self.old[*at].ending.is_empty();
        let all: Vec<usize> = (1..self.old.len()).filter(plain).collect();
        (!all.is_empty()).then(|| all[self.random.below(all.len() as u64) as usize])
    }

    /// Has the link lead to an earlier file; answers whether the writer has another one then.
    fn lead_back(&mut self, at: usize) -> bool {
        let is_held = self.lingers && at == self.held;
        let old = self.old.remove(at);
        self.held -= usize::from(at < self.held);
        self.target = old.plain;
        // Whoever goes on in a file ends the line that another one left there.
        if !is_held && fs::read(&self.target).unwrap().last().is_some_and(|&byte| byte != b'\n') {
            let mut file = OpenOptions::new().append(true).open(&self.target).unwrap();
            file.write_all(b"\n").unwrap();
        }
        self.link();
        self.led_back = true;
        !is_held
    }

    pub(super) fn remember_left(&mut self, plain: PathBuf) {
        let since_run = self.runs;
        let lingered = std::mem::take(&mut self.led_back);
        let old = Old { plain, since_run, ending: "", lingered, tells: false };
        self.old.insert(0, old);
    }

    pub(super) fn set_clock_back(&mut self) {
        let Some(set_back_s) = &mut self.set_back_s else { return };
        let seconds = 1 + self.random.below(600);
        *set_back_s += seconds;
        self.tell(format!("the clock is set back by {seconds} s"));
    }
}
