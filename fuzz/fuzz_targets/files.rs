//! Chain files and prompt files.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    for name in ["chain.yaml", "chain.toml"] {
        if let Ok(file) = fanweave::ChainFile::parse(name, text) {
            file.graph().to_mermaid();
        }
    }
    for name in ["x.prompt.yml", "x.prompt"] {
        let _ = fanweave::prompts::PromptFile::parse(name, text);
    }
});
