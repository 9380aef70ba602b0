#[fanweave::tool]
async fn borrows(
    /// A city.
    city: &str,
    names: &[String],
) -> String {
    format!("{city} {names:?}")
}

#[fanweave::tool]
fn takes_apart((a, b): (u8, u8), any: impl ToString) -> String {
    format!("{a} {b} {}", any.to_string())
}

#[fanweave::tool]
fn of_any_type<T>(value: T) -> String {
    let _ = value;
    String::new()
}

#[fanweave::tool]
fn asks_for_the_context_late(a: u8, cx: &fanweave::Context) -> u8 {
    let _ = cx;
    a
}

#[fanweave::tool]
struct Pair(u8, u8);

#[fanweave::tool]
enum Either {}

struct Door;

impl Door {
    #[fanweave::tool]
    async fn open(&self) {}
}

#[fanweave::tool]
fn borrows_within(cities: Option<&str>, names: Vec<impl ToString>) -> usize {
    cities.map_or(0, str::len) + names.len()
}

#[fanweave::tool]
unsafe fn promises(at: usize) -> usize {
    at
}

#[fanweave::tool]
fn sometimes(#[cfg(unix)] path: String) -> String {
    path
}

fn main() {
    // It is still a function.
    let _ = borrows("Paris", &[]);
}
