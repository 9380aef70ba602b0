//! Flags of the linker for an extension module. macOS needs them.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
