#[fanweave::call(model = "sim/writer")]
async fn maybe(topic: Option<&str>) -> String {
    topic.unwrap_or_default().to_owned()
}

#[fanweave::call(model = "sim/writer")]
async fn several(topics: &[&str], tones: &Vec<(&[u8], u8)>) -> String {
    format!("{topics:?} {tones:?}")
}

#[fanweave::call(model = "sim/writer")]
async fn either(topic: std::borrow::Cow<'_, str>) -> String {
    topic.into_owned()
}

fn main() {}
