//! The capture file (pcap) of a dump.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kojuto_core::net::pcap;

use crate::log::Log;
use crate::{Error, Result, words};

/// The capture file; after a failed write it is left as it is.
pub(super) struct Capture {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Capture {
    pub(super) fn create(path: &Path) -> Result<Capture> {
        let open = || {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)?;
            let mut file = BufWriter::with_capacity(256 << 10, file);
            file.write_all(&pcap::file_header())?;
            file.flush()?;
            Ok(file)
        };
        let file = open().map_err(Error::on_path(path))?;
        Ok(Capture { path: path.to_owned(), file: Some(file) })
    }

    pub(super) fn with(
        &mut self,
        log: &Log,
        action: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
    ) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = action(file) {
            let line = Log::line("error", "the capture file cannot be written and ends here");
            let line = line.text("file", &self.path.display().to_string());
            log.write(&line.text("error", &words(&error)).end());
            self.file = None;
        }
    }
}
