//! A file of any bytes is refused or begins with a sketch that works; a right checksum is put in, so
//! that what lies behind it is reached.
#![no_main]

use kojuto_core::stats::sketch_file::{Part, seal};
use kojuto_core::stats::sketch_pool::SketchPool;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = Part::read(data);
    let Ok((mut part, used)) = Part::read(&seal(data.to_vec())) else { return };
    assert!(used <= data.len() + 4);
    let bytes = part.to_bytes();
    let (again, used) = Part::read(&bytes).expect("what is written is read");
    assert!(again == part && again.to_bytes() == bytes && used == bytes.len());
    if let Some(summary) = part.sketch.summarise(&[0.0, 0.25, 0.5, 0.99, 1.0]) {
        let inside = |value: f64| value >= summary.min && value <= summary.max;
        assert!(inside(summary.mean) && summary.quantiles.iter().all(|&value| inside(value)));
    }
    let _ = part.sketch.merge(&again.sketch);
    let mut pool = SketchPool::new(None);
    let taken = [part, again].into_iter().try_for_each(|part| pool.take(part));
    assert!(taken.is_err() || pool.into_sorted(1).len() == 1);
});
