#[fanweave::tool(title = "now")]
fn unknown() {}

#[fanweave::tool(name = "what time is it")]
fn name() {}

#[fanweave::tool(name = now)]
fn name_that_is_not_text() {}

#[fanweave::tool(timeout)]
fn no_value() {}

#[fanweave::tool(name = "a", name = "b")]
fn twice() {}

#[fanweave::tool(blocking)]
fn blocks() {}

#[fanweave::tool]
fn höhe() {}

#[fanweave::tool]
struct ATypeWhoseNameSaysSoMuchAboutWhatItIsForThatNoProviderWouldTakeIt {}

fn main() {}
