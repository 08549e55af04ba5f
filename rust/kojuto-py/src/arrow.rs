//! Arrow's C data interface as Python has it: the capsules of `__arrow_c_array__` and
//! `__arrow_c_stream__` (Arrow PyCapsule Interface).

use std::ffi::CStr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::{ArrayStreamReader, FFI_ArrowArrayStream};
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchIterator, RecordBatchReader,
    StringArray, make_array,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule};

use crate::errors::{not_numbers, refused};

/// Hands over each number of an Arrow array or of a stream of them, nulls left out; false for what
/// speaks no Arrow.
pub(crate) fn each_number(values: &Bound<'_, PyAny>, each: &mut dyn FnMut(f64)) -> PyResult<bool> {
    if values.hasattr("__arrow_c_stream__")? {
        let capsule = values.call_method0("__arrow_c_stream__")?.cast_into::<PyCapsule>()?;
        for array in stream_of(&capsule)? {
            each_of_array(&array.map_err(wrong)?, each)?;
        }
        return Ok(true);
    }
    if values.hasattr("__arrow_c_array__")? {
        let capsules = values.call_method0("__arrow_c_array__")?;
        let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) = capsules.extract()?;
        each_of_array(&array_of(&schema, &array)?, each)?;
        return Ok(true);
    }
    Ok(false)
}

fn each_of_array(array: &dyn Array, each: &mut dyn FnMut(f64)) -> PyResult<()> {
    fn all<T: ArrowPrimitiveType>(
        array: &dyn Array,
        number: impl Fn(T::Native) -> f64,
        each: &mut dyn FnMut(f64),
    ) {
        array.as_primitive::<T>().iter().flatten().for_each(|value| each(number(value)));
    }
    match array.data_type() {
        DataType::Float32 => all::<Float32Type>(array, f64::from, each),
        DataType::Float64 => all::<Float64Type>(array, |number| number, each),
        DataType::Int8 => all::<Int8Type>(array, f64::from, each),
        DataType::Int16 => all::<Int16Type>(array, f64::from, each),
        DataType::Int32 => all::<Int32Type>(array, f64::from, each),
        DataType::Int64 => all::<Int64Type>(array, |number| number as f64, each),
        DataType::UInt8 => all::<UInt8Type>(array, f64::from, each),
        DataType::UInt16 => all::<UInt16Type>(array, f64::from, each),
        DataType::UInt32 => all::<UInt32Type>(array, f64::from, each),
        DataType::UInt64 => all::<UInt64Type>(array, |number| number as f64, each),
        DataType::Null => {}
        other => return Err(not_numbers(other)),
    }
    Ok(())
}

fn wrong(error: ArrowError) -> PyErr {
    refused(error.to_string())
}

const STREAM: &CStr = c"arrow_array_stream";
const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";

/// The arrays of a stream, which is moved out of its capsule.
fn stream_of(capsule: &Bound<'_, PyCapsule>) -> PyResult<ArrayStreamReader> {
    let stream = capsule.pointer_checked(Some(STREAM))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name holds a stream of the C stream interface, which whoever gets the
    // capsule may move out of it; the GIL keeps others from doing so meanwhile.
    unsafe { ArrayStreamReader::from_raw(stream.as_ptr()) }.map_err(wrong)
}

/// An array, which is moved out of its capsule.
fn array_of(schema: &Bound<'_, PyCapsule>, array: &Bound<'_, PyCapsule>) -> PyResult<ArrayRef> {
    let schema = schema.pointer_checked(Some(SCHEMA))?.cast::<FFI_ArrowSchema>();
    let array = array.pointer_checked(Some(ARRAY))?.cast::<FFI_ArrowArray>();
    // SAFETY: capsules of these names hold an array of the C data interface, which whoever gets the
    // capsule may move out of it, and its schema; the GIL keeps others from doing so meanwhile.
    let data = unsafe { from_ffi(FFI_ArrowArray::from_raw(array.as_ptr()), schema.as_ref()) };
    data.map(make_array).map_err(wrong)
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(arrow_stream, module)?)?;
    module.add_function(wrap_pyfunction!(arrow_file, module)?)
}

/// Batches as what `__arrow_c_stream__` returns.
pub(crate) fn capsule(
    py: Python<'_>,
    batches: impl RecordBatchReader + Send + 'static,
) -> PyResult<Bound<'_, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(batches)), STREAM)
}

/// A table as a stream of one batch.
#[pyfunction]
fn arrow_stream<'py>(
    py: Python<'py>,
    columns: Vec<(String, String, Bound<'py, PyAny>)>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let table = table(columns)?;
    let schema = table.schema();
    capsule(py, RecordBatchIterator::new([Ok(table)], schema))
}

/// A table as the bytes of an IPC stream.
#[pyfunction]
fn arrow_file<'py>(
    py: Python<'py>,
    columns: Vec<(String, String, Bound<'py, PyAny>)>,
) -> PyResult<Bound<'py, PyBytes>> {
    let table = table(columns)?;
    let mut out = Vec::new();
    let mut writer = StreamWriter::try_new(&mut out, &table.schema()).map_err(wrong)?;
    writer.write(&table).and_then(|()| writer.finish()).map_err(wrong)?;
    Ok(PyBytes::new(py, &out))
}

/// The table of columns: of each its name, what it holds, and the values.
fn table(columns: Vec<(String, String, Bound<'_, PyAny>)>) -> PyResult<RecordBatch> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (name, kind, values) in columns {
        let array: ArrayRef = match &*kind {
            "text" => Arc::new(StringArray::from(values.extract::<Vec<Option<String>>>()?)),
            "whole" => Arc::new(Int64Array::from(values.extract::<Vec<Option<i64>>>()?)),
            "real" => Arc::new(Float64Array::from(values.extract::<Vec<Option<f64>>>()?)),
            other => return Err(refused(format!("not what a column holds: {other}"))),
        };
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(wrong)
}

/// Whether this thread has run Python, be it that it holds the GIL now or not.
pub(crate) fn is_python_thread() -> bool {
    // SAFETY: it may be called at any time, and without the GIL.
    unsafe { !pyo3::ffi::PyGILState_GetThisThreadState().is_null() }
}
