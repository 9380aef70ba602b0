fn main() {
    let topic = "bears";
    fanweave::prompt!("Tell a {{ tone }} joke about {{ topic }} in {{ words }} words.", topic);
    fanweave::prompt!("A {{ type }}.");
}
