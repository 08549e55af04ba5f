//! Wrapper of `kojuto_core::net::proxy_protocol`.

use kojuto_core::net::proxy_protocol::{Addresses, Step, V2_MAX, parse};
use kojuto_io::Error;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::errors::to_py;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(parse_proxy_header, module)?)
}

/// Returns ("done", header), ("more", None) or ("none", None).
#[pyfunction]
fn parse_proxy_header<'py>(
    py: Python<'py>,
    data: &[u8],
) -> PyResult<(&'static str, Option<Bound<'py, PyDict>>)> {
    let (header, used) = match parse(data, V2_MAX).map_err(Error::from).map_err(to_py)? {
        Step::NeedMore => return Ok(("more", None)),
        Step::NotProxy => return Ok(("none", None)),
        Step::Done { header, used } => (header, used),
    };
    let found = PyDict::new(py);
    found.set_item("version", header.version)?;
    found.set_item("length", used)?;
    found.set_item("local", header.local)?;
    found.set_item("checked", header.checked)?;
    let tlvs: Vec<_> =
        header.tlvs.iter().map(|(kind, value)| (*kind, PyBytes::new(py, value))).collect();
    found.set_item("tlvs", tlvs)?;
    let datagram = match &header.addresses {
        Addresses::Unknown => false,
        Addresses::Inet { source, destination, datagram } => {
            found.set_item("source", (source.ip().to_string(), source.port()))?;
            found.set_item("destination", (destination.ip().to_string(), destination.port()))?;
            *datagram
        }
        Addresses::Unix { source, destination, datagram } => {
            found.set_item("source", PyBytes::new(py, source))?;
            found.set_item("destination", PyBytes::new(py, destination))?;
            *datagram
        }
    };
    found.set_item("datagram", datagram)?;
    Ok(("done", Some(found)))
}
