//! Columns of lines as Arrow's arrays.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int64Type};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use kojuto_core::report::{Cells, Columns, Has, Texts, Values};

const UTC: &str = "UTC";

/// What columns of lines hold.
pub(super) fn schema_of(names: &[String]) -> SchemaRef {
    let cells = Columns::named(names).cells;
    let kind = |cells: &Cells| match cells {
        Cells::Moments(_) => DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())),
        Cells::Whole(_) => DataType::Int64,
        Cells::Seconds(_) => DataType::Float64,
        Cells::Texts(_) => DataType::Utf8,
    };
    let field = |(name, cells): (&String, &Cells)| Field::new(name, kind(cells), true);
    Arc::new(Schema::new(names.iter().zip(&cells).map(field).collect::<Vec<_>>()))
}

/// Lines as a batch; none of their bytes is copied.
pub(super) fn batch_of(columns: Columns, schema: SchemaRef) -> Result<RecordBatch, ArrowError> {
    let array = |cells: Cells| -> Result<ArrayRef, ArrowError> {
        Ok(match cells {
            Cells::Moments(values) => {
                let array: TimestampNanosecondArray = numbers(values)?;
                Arc::new(array.with_timezone(UTC))
            }
            Cells::Whole(values) => Arc::new(numbers::<Int64Type>(values)?),
            Cells::Seconds(values) => Arc::new(numbers::<Float64Type>(values)?),
            Cells::Texts(Texts { bytes, ends, has }) => {
                let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
                Arc::new(StringArray::try_new(ends, Buffer::from_vec(bytes), nulls(has))?)
            }
        })
    };
    let arrays = columns.cells.into_iter().map(array).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema, arrays)
}

fn numbers<T: ArrowPrimitiveType>(
    Values { values, has }: Values<T::Native>,
) -> Result<PrimitiveArray<T>, ArrowError> {
    PrimitiveArray::try_new(ScalarBuffer::from(values), nulls(has))
}

fn nulls(has: Has) -> Option<NullBuffer> {
    has.into_bools().map(NullBuffer::from)
}
