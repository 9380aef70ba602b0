/// Has no method `call`.
#[fanweave::tool]
struct Now {}

/// Its `call` is not async.
#[fanweave::tool]
struct Blocks {}

impl Blocks {
    fn call(&self) -> String {
        String::new()
    }
}

struct Opaque;

#[fanweave::tool]
async fn gives_what_no_model_can_read() -> Opaque {
    Opaque
}

#[fanweave::tool]
async fn fails_with_no_error() -> Result<String, Opaque> {
    Err(Opaque)
}

fn main() {}
