use kojuto_core::access::*;
use kojuto_core::json::Prefix;
use std::io::Read;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let format =
        if a[1] == "ltsv" { Format::Ltsv(Prefix::Refuse) } else { Format::Json(Prefix::Refuse) };
    let mut acc = Access::new(&Options {
        format,
        ptime_key: "ptime".into(),
        status_keys: vec!["status".into()],
        by: None,
        max_groups: 1,
        filter: None,
        time_scale: 1.0,
        time_list: TimeList::Refuse,
    })
    .unwrap();
    let mut f = std::fs::File::open(&a[2]).unwrap();
    let mut buf = vec![0u8; 256 << 10];
    let mut have = 0;
    let scan = a.len() < 4;
    loop {
        let n = f.read(&mut buf[have..]).unwrap();
        if n == 0 {
            break;
        }
        have += n;
        let end = buf[..have].iter().rposition(|&b| b == b'\n').unwrap() + 1;
        if scan {
            acc.block(&buf[..end]);
        }
        buf.copy_within(end..have, 0);
        have -= end;
    }
    println!("{} {:?}", acc.lines(), acc.bad().counts());
    let (mut t, _) = acc.finish();
    println!(
        "{:?} {:?}",
        t.classes,
        kojuto_core::quantile::select(&mut t.latencies, &[0.99, 0.95, 0.9])
    );
}
