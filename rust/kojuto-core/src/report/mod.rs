//! What a report counts: requests by the endpoint that they are of.

pub mod compare;
pub mod naming;

mod answer;
mod beside;
mod cells;
mod classes;
mod collector;
mod condition;
mod counts;
mod figures;
mod file;
mod fold;
mod known;
mod line;
mod options;
mod path;
mod roles;
mod row;
mod shape;
mod slices;
mod slowest;
mod spread;
mod steps;
mod targets;
mod totals;
mod window;

pub use self::answer::{Answer, Endpoint};
pub use self::beside::{Beside, Row, beside};
pub use self::cells::{Cells, Columns, Has, Texts, Values};
pub use self::classes::CLASSES;
pub use self::collector::Collector;
pub use self::condition::Condition;
pub use self::figures::Figures;
pub use self::file::seal;
pub use self::known::ROLES;
pub use self::options::{MOST_KEYS, Options};
pub use self::roles::Taken;
pub use self::row::GROUP_SEPARATOR;
pub use self::slices::{Slice, Slices};
pub use self::slowest::{MOST_SLOWEST, Slow};
pub use self::spread::Spread;
pub use self::totals::{Found, REASONS, Settings, Totals};
pub use self::window::{Clock, Part, Window};
