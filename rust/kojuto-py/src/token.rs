//! Wrapper of `kojuto_io::auth::signed_by`.

use kojuto_io::auth::{self, Key};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TokenKeys>()
}

/// Keys any of which may have signed a token.
#[pyclass(module = "kojuto._native", frozen)]
struct TokenKeys(Vec<Key>);

#[pymethods]
impl TokenKeys {
    #[new]
    fn new(keys: Vec<(String, Option<String>, Option<Vec<u8>>)>) -> TokenKeys {
        let keys = keys.into_iter();
        TokenKeys(keys.map(|(algorithm, kid, public)| Key { algorithm, kid, public }).collect())
    }

    fn signed_by<'py>(&self, py: Python<'py>, token: &str) -> Option<(usize, Bound<'py, PyBytes>)> {
        let found = py.detach(|| auth::signed_by(&self.0, token.as_bytes()));
        found.map(|(at, payload)| (at, PyBytes::new(py, &payload)))
    }
}
