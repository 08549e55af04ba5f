//! `kojuto._native`: converts arguments, lets go of the GIL, maps errors. The work is elsewhere.

mod access;
mod arrow;
mod errors;
mod follow;
mod group_name;
mod http;
mod http_message;
mod incr_rate;
mod job;
mod last_words;
mod membership;
mod numbers;
mod ping;
mod postfix;
mod proxy_protocol;
mod relaxlogs;
mod relay;
mod report;
mod sabo;
mod state;
mod tls;
mod token;

use pyo3::prelude::*;

/// The Rust core of kojuto.
#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    last_words::prepare(module.py())?;
    module.add("CORE_VERSION", kojuto_core::VERSION)?;
    access::register(module)?;
    arrow::register(module)?;
    follow::register(module)?;
    http::register(module)?;
    incr_rate::register(module)?;
    membership::register(module)?;
    numbers::register(module)?;
    postfix::register(module)?;
    ping::register(module)?;
    relaxlogs::register(module)?;
    sabo::register(module)?;
    proxy_protocol::register(module)?;
    relay::register(module)?;
    report::register(module)?;
    state::register(module)?;
    tls::register(module)?;
    token::register(module)?;
    // PyO3 lists every name here; the stub does that already, and says what each is.
    module.delattr("__all__")
}
