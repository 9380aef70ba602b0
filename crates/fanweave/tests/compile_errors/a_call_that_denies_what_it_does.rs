#[deny(unused_variables)]
#[fanweave::call(model = "sim/writer")]
async fn forgets(topic: &str) -> String {
    let tone = "dry";
    topic.to_owned()
}

fn main() {}
