//! A sketch file of any bytes is refused or is a sketch that works; a right checksum is put in, so
//! that what lies behind it is reached.
#![no_main]

use kojuto_core::stats::sketch::Sketch;
use kojuto_core::stats::sketch_file::seal;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = Sketch::from_bytes(data);
    let Ok(mut sketch) = Sketch::from_bytes(&seal(data.to_vec())) else { return };
    let bytes = sketch.to_bytes();
    let again = Sketch::from_bytes(&bytes).expect("what is written is read");
    assert!(again == sketch && again.to_bytes() == bytes);
    if let Some(summary) = sketch.summarise(&[0.0, 0.25, 0.5, 0.99, 1.0]) {
        let inside = |value: f64| value >= summary.min && value <= summary.max;
        assert!(inside(summary.mean) && summary.quantiles.iter().all(|&value| inside(value)));
    }
    let _ = sketch.merge(&again);
});
