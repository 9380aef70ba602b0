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

#[fanweave::call(model = "sim/writer")]
async fn shown(topic: &impl std::fmt::Display, tones: Vec<impl ToString>) -> String {
    format!("{topic} {}", tones.len())
}

#[fanweave::call(model = "sim/writer")]
async fn behind(topic: &dyn std::fmt::Display) -> String {
    topic.to_string()
}

fn main() {}
