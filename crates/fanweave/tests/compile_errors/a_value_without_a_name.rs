fn main() {
    fanweave::prompt!("Tell a joke about {{ topic }}.", "bears");
}
