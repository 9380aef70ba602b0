fn main() {
    let tpoic = "bears";
    fanweave::prompt!("Tell a joke.", tpoic);
    fanweave::prompt!("Tell a joke about {{ topic }}.", topic = "bears", topic = "cats");
}
