fn main() {
    fanweave::prompt!("Tell a joke about\n{{ topic.");
}
