//! Extensions of fanweave by other crates, as their authors would write them: each module uses public items
//! of `fanweave` alone. The tests run them.

pub mod acme;
pub mod collector;
pub mod fair_share;
pub mod majority;
pub mod server;
pub mod table;
