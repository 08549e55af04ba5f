//! Wrapper of `kojuto_io::relay::Dump`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use kojuto_io::relay::{self, CaptureOptions, DumpOptions};
use pyo3::prelude::*;

use super::{LogWriter, join_soon, lock};
use crate::errors::to_py;

/// A dump of what passes through a relay.
#[pyclass(module = "kojuto._native", frozen)]
pub(super) struct Dump {
    pub(super) dump: Arc<relay::Dump>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[pymethods]
impl Dump {
    #[new]
    #[pyo3(signature = (
        log, *, tcp = 0, pings = false, mysql = false, pcap = None, pcap_snaplen = 262_144,
        pcap_max_bytes = 0, pcap_files = 10, pcap_replaces = true, redact = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "one for each option, all by name")]
    fn new(
        log: &LogWriter,
        tcp: u8,
        pings: bool,
        mysql: bool,
        pcap: Option<PathBuf>,
        pcap_snaplen: u32,
        pcap_max_bytes: u64,
        pcap_files: usize,
        pcap_replaces: bool,
        redact: Option<String>,
    ) -> PyResult<Self> {
        let pcap = pcap.map(|path| CaptureOptions {
            path,
            snaplen: pcap_snaplen,
            max_bytes: pcap_max_bytes,
            files: pcap_files,
            replaces: pcap_replaces,
        });
        let options = DumpOptions { tcp, pings, mysql, pcap, redact };
        let (dump, thread) = relay::Dump::start(options, Arc::clone(&log.log)).map_err(to_py)?;
        Ok(Dump { dump, thread: Mutex::new(Some(thread)) })
    }

    fn close(&self, py: Python<'_>) {
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            self.dump.close();
            py.detach(|| join_soon(&thread));
        }
    }
}
