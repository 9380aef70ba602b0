use std::rc::Rc;

use fanweave_core::step;

fn main() {
    let _step = step(|n: u32, _cx| async move {
        let shared = Rc::new(n);
        std::future::ready(()).await;
        Ok(*shared)
    });
}
