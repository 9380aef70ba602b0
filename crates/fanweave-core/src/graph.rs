//! Diagrams of chains: Mermaid for documents, a tree for terminals.

use std::any::TypeId;
use std::fmt::{self, Write};

use serde_json::{Value, json};

use crate::{Item, Message, Prompt, Vars};

/// A step of a chain in a diagram: returned by [`Runnable::describe`](crate::Runnable::describe).
///
/// ```
/// use fanweave::compose::Node;
///
/// let node = Node::sequence([Node::step("fetch"), Node::step("parse")]);
/// assert_eq!(node, Node::sequence([Node::sequence([Node::step("fetch")]), Node::step("parse")]));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    label: String,
    parts: Parts,
    /// JSON schema of the input, if the step knows more than its type.
    input: Option<Value>,
    /// The paths of the variables that the step reads, if it reads no others.
    reads: Option<Vec<String>>,
    /// Number of models that the step itself calls.
    models: usize,
}

/// Ends the label of a part whose alternative can be chosen.
const CONFIGURABLE: &str = " (configurable)";

#[derive(Debug, Clone, PartialEq)]
enum Parts {
    None,
    /// In sequence.
    Sequence(Vec<Node>),
    /// All of them, concurrently.
    All(Vec<(String, Node)>),
    /// One of them.
    One(Vec<(String, Node)>),
    /// The inner steps, in sequence.
    Within(Vec<Node>),
}

impl Node {
    /// A step without parts.
    pub fn step(label: impl Into<String>) -> Self {
        Self::of_parts(label, Parts::None)
    }

    fn of_parts(label: impl Into<String>, parts: Parts) -> Self {
        Self { label: label.into(), parts, input: None, reads: None, models: 0 }
    }

    /// A step that makes one call of a model in each run.
    pub fn model(label: impl Into<String>) -> Self {
        Self::step(label).with_models(1)
    }

    /// Adds calls of models to those that the step and its parts make in a run. Default: none.
    ///
    /// Batches rely on it: the calls of rows with several are journalled one by one, and a provider's batch
    /// API is refused for them. For a number that depends on the input, add 2.
    ///
    /// ```
    /// use fanweave::compose::Node;
    ///
    /// let vote = Node::step("vote of three").with_models(3);
    /// assert_eq!(Node::sequence([Node::model("draft"), vote]).models(), 4);
    /// ```
    #[must_use]
    pub fn with_models(mut self, models: usize) -> Self {
        // A sequence is flattened into the one around it.
        let step = match &mut self.parts {
            Parts::Sequence(nodes) if !nodes.is_empty() => &mut nodes[0],
            _ => &mut self,
        };
        step.models += models;
        self
    }

    /// Number of calls of models in a run that takes every step once. Steps that are repeated, such as those
    /// for each item of a list and rounds of tool calls, count twice. Not counted: retries, and calls in
    /// closures.
    pub fn models(&self) -> usize {
        let of_parts = match &self.parts {
            Parts::None => 0,
            Parts::Sequence(nodes) | Parts::Within(nodes) => nodes.iter().map(Node::models).sum(),
            Parts::All(parts) => parts.iter().map(|(_, node)| node.models()).sum(),
            Parts::One(parts) => parts.iter().map(|(_, node)| node.models()).max().unwrap_or_default(),
        };
        self.models + of_parts
    }

    /// A step of this type: its name without module and parameters.
    pub fn of_type<T: ?Sized>() -> Self {
        Self::step(short_name(std::any::type_name::<T>()))
    }

    /// Steps in sequence. A nested sequence is flattened.
    pub fn sequence(nodes: impl IntoIterator<Item = Node>) -> Self {
        let mut all = Vec::new();
        for node in nodes {
            match node.parts {
                Parts::Sequence(nodes) => all.extend(nodes),
                _ => all.push(node),
            }
        }
        if all.len() == 1 {
            return all.remove(0);
        }
        Self::of_parts("", Parts::Sequence(all))
    }

    /// Several steps run concurrently, each with its name.
    pub fn all_of(label: impl Into<String>, parts: impl IntoIterator<Item = (String, Node)>) -> Self {
        Self::of_parts(label, Parts::All(parts.into_iter().collect()))
    }

    /// One of several steps, each with its name.
    pub fn one_of(label: impl Into<String>, parts: impl IntoIterator<Item = (String, Node)>) -> Self {
        Self::of_parts(label, Parts::One(parts.into_iter().collect()))
    }

    /// A step that wraps others.
    pub fn around(label: impl Into<String>, inner: impl IntoIterator<Item = Node>) -> Self {
        let inner = match Self::sequence(inner) {
            Node { parts: Parts::Sequence(nodes), .. } => nodes,
            node => vec![node],
        };
        Self::of_parts(label, Parts::Within(inner))
    }

    /// A step for each item of a list.
    pub(crate) fn for_each(step: Node) -> Self {
        let models = step.models();
        Self::around("each", [step]).with_models(models)
    }

    /// The same node under another name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        match self.parts {
            Parts::None => Self { label: name.to_owned(), ..self },
            _ => Self::around(name, [self]),
        }
    }

    /// Sets the JSON schema of the input.
    #[must_use]
    pub fn with_input(mut self, schema: Value) -> Self {
        self.input = Some(schema);
        self
    }

    /// Sets the paths of all variables that the step reads.
    #[must_use]
    pub(crate) fn with_reads(mut self, paths: Vec<String>) -> Self {
        self.reads = Some(paths);
        self
    }

    /// The paths of the variables that a chain reads, and true if it reads no others.
    pub(crate) fn reads(&self) -> (Vec<String>, bool) {
        if let Some(paths) = &self.reads {
            return (paths.clone(), true);
        }
        match &self.parts {
            Parts::None => (Vec::new(), false),
            Parts::Sequence(nodes) | Parts::Within(nodes) => {
                nodes.first().map_or((Vec::new(), false), Node::reads)
            }
            // The condition of a branch, and what follows an assignment, may read others.
            Parts::All(parts) | Parts::One(parts) => {
                (parts.iter().flat_map(|(_, node)| node.reads().0).collect(), false)
            }
        }
    }

    /// The names of all parts whose alternative can be chosen.
    pub(crate) fn configurable(&self) -> Vec<&str> {
        let mut names: Vec<_> = match &self.parts {
            Parts::None => Vec::new(),
            Parts::Sequence(nodes) | Parts::Within(nodes) => {
                nodes.iter().flat_map(Node::configurable).collect()
            }
            Parts::All(parts) | Parts::One(parts) => {
                parts.iter().flat_map(|(_, node)| node.configurable()).collect()
            }
        };
        if matches!(self.parts, Parts::One(_)) {
            names.extend(self.label.strip_suffix(CONFIGURABLE));
        }
        names
    }

    /// A part whose alternative can be chosen by its name.
    pub(crate) fn configurable_part(
        name: &str,
        alternatives: impl IntoIterator<Item = (String, Node)>,
    ) -> Self {
        Self::one_of(format!("{name}{CONFIGURABLE}"), alternatives)
    }

    /// Name of the step in a sentence: its label, or those of its parts.
    pub fn title(&self) -> String {
        match &self.parts {
            Parts::Sequence(nodes) => nodes.iter().map(Node::title).collect::<Vec<_>>().join(" | "),
            _ => one_line(&self.label),
        }
    }

    /// The first step of a sequence. Any other node is its own first step.
    pub(crate) fn first(&self) -> &Node {
        match &self.parts {
            Parts::Sequence(nodes) => nodes.first().map_or(self, Node::first),
            _ => self,
        }
    }

    /// The last step of a sequence. Any other node is its own last step.
    pub(crate) fn last(&self) -> &Node {
        match &self.parts {
            Parts::Sequence(nodes) => nodes.last().map_or(self, Node::last),
            _ => self,
        }
    }

    fn input(&self) -> Option<&Value> {
        self.input.as_ref().or_else(|| match &self.parts {
            Parts::Sequence(nodes) | Parts::Within(nodes) => nodes.first()?.input(),
            _ => None,
        })
    }
}

/// A type's name without modules and parameters. A closure is a `step`.
pub(crate) fn short_name(full: &str) -> &str {
    let bare = full.split('<').next().unwrap_or(full);
    match bare.rsplit("::").next().unwrap_or(bare) {
        "{{closure}}" => "step",
        name => name,
    }
}

/// The diagram of a chain, and the schemas of its input and output. Made by
/// [`Chain::graph`](crate::Chain::graph).
///
/// `Display` writes the tree.
///
/// ```
/// use fanweave::{branch, chain, prompt, testing::Fake, text};
///
/// let short = prompt("A haiku on {{ topic }}.") | Fake::echo() | text();
/// let long = prompt("An ode to {{ topic }}.") | Fake::echo() | text();
/// let poem = branch().when(|vars: &fanweave::Vars| vars.get("long").is_none(), short).otherwise(long);
/// let graph = poem.named("poem").graph();
/// assert_eq!(graph.to_string(), "\
/// poem
/// └─ branch
///    ├─ case 1
///    │  ├─ prompt
///    │  ├─ fake/echo
///    │  └─ text
///    └─ otherwise
///       ├─ prompt
///       ├─ fake/echo
///       └─ text
/// ");
/// assert!(graph.to_mermaid().starts_with("flowchart TD\n"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    root: Node,
    input: Value,
    output: Value,
}

impl Graph {
    /// The diagram of `root`, a step from `I` to `O`.
    pub fn of<I: 'static, O: 'static>(root: Node) -> Self {
        let input = root.input().cloned().unwrap_or_else(schema::<I>);
        Self { root, input, output: schema::<O>() }
    }

    /// JSON schema of the input. For a type without a schema, its name.
    pub fn input_schema(&self) -> &Value {
        &self.input
    }

    /// JSON schema of the output. For a type without a schema, its name.
    pub fn output_schema(&self) -> &Value {
        &self.output
    }

    /// A flowchart in the Mermaid language.
    pub fn to_mermaid(&self) -> String {
        let mut chart = Chart { lines: vec!["flowchart TD".to_owned()], nodes: 0, depth: 1 };
        chart.draw(&self.root);
        let mut text = chart.lines.join("\n");
        text.push('\n');
        text
    }

    /// A tree for terminals.
    pub fn to_ascii(&self) -> String {
        let mut text = String::new();
        match &self.root.parts {
            Parts::Sequence(nodes) => nodes.iter().for_each(|node| tree(node, "", &mut text)),
            _ => tree(&self.root, "", &mut text),
        }
        text
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_ascii())
    }
}

fn tree(node: &Node, indent: &str, text: &mut String) {
    let _ = writeln!(text, "{}", one_line(&node.label));
    let children: Vec<(Option<&str>, &Node)> = match &node.parts {
        Parts::None => Vec::new(),
        Parts::Sequence(nodes) | Parts::Within(nodes) => nodes.iter().map(|node| (None, node)).collect(),
        Parts::All(parts) | Parts::One(parts) => {
            parts.iter().map(|(name, node)| (Some(name.as_str()), node)).collect()
        }
    };
    let last = children.len().saturating_sub(1);
    for (i, (name, child)) in children.into_iter().enumerate() {
        let (corner, below) = if i == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let _ = write!(text, "{indent}{corner}");
        let below = format!("{indent}{below}");
        match (name, child) {
            (Some(name), Node { parts: Parts::None, label, .. }) => {
                let _ = writeln!(text, "{}: {}", one_line(name), one_line(label));
            }
            (Some(name), Node { parts: Parts::Sequence(nodes), .. }) => {
                tree(&Node::around(name, nodes.iter().cloned()), &below, text);
            }
            (Some(name), child) => tree(&Node::around(name, [child.clone()]), &below, text),
            (None, child) => tree(child, &below, text),
        }
    }
}

fn one_line(label: &str) -> String {
    label.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A flowchart in progress.
struct Chart {
    lines: Vec<String>,
    nodes: usize,
    depth: usize,
}

/// The ends of arrows into and out of a part of a chart, with the labels of the incoming ones.
struct Ends {
    first: Vec<String>,
    last: Vec<String>,
}

impl Chart {
    fn line(&mut self, text: &str) {
        self.lines.push(format!("{}{text}", "    ".repeat(self.depth)));
    }

    fn id(&mut self) -> String {
        self.nodes += 1;
        format!("n{}", self.nodes)
    }

    fn draw(&mut self, node: &Node) -> Ends {
        match &node.parts {
            Parts::None => {
                let id = self.id();
                self.line(&format!("{id}[\"{}\"]", escaped(&node.label)));
                Ends { first: vec![id.clone()], last: vec![id] }
            }
            Parts::Sequence(nodes) => self.sequence(nodes),
            Parts::Within(nodes) => {
                let id = self.id();
                self.line(&format!("subgraph {id}[\"{}\"]", escaped(&node.label)));
                self.depth += 1;
                let ends = self.sequence(nodes);
                self.depth -= 1;
                self.line("end");
                ends
            }
            Parts::All(parts) => self.fork(&node.label, parts, ("[[\"", "\"]]")),
            Parts::One(parts) => self.fork(&node.label, parts, ("{\"", "\"}")),
        }
    }

    fn sequence(&mut self, nodes: &[Node]) -> Ends {
        let mut ends: Option<Ends> = None;
        for node in nodes {
            let next = self.draw(node);
            ends = Some(match ends {
                None => next,
                Some(Ends { first, last }) => {
                    for from in &last {
                        for to in &next.first {
                            self.line(&format!("{from} --> {to}"));
                        }
                    }
                    Ends { first, last: next.last }
                }
            });
        }
        ends.unwrap_or_else(|| Ends { first: Vec::new(), last: Vec::new() })
    }

    fn fork(&mut self, label: &str, parts: &[(String, Node)], (open, close): (&str, &str)) -> Ends {
        let id = self.id();
        self.line(&format!("{id}{open}{}{close}", escaped(label)));
        let mut last = Vec::new();
        for (name, node) in parts {
            let ends = self.draw(node);
            for to in &ends.first {
                self.line(&format!("{id} -- \"{}\" --> {to}", escaped(name)));
            }
            last.extend(ends.last);
        }
        if last.is_empty() {
            last.push(id.clone());
        }
        Ends { first: vec![id], last }
    }
}

/// A label that cannot end its quotes, and is not interpreted as markup.
fn escaped(label: &str) -> String {
    let mut text = String::new();
    for c in one_line(label).chars() {
        match c {
            '"' | '<' | '>' | '#' | '&' | '`' => {
                let _ = write!(text, "#{};", u32::from(c));
            }
            c => text.push(c),
        }
    }
    if text.is_empty() { " ".to_owned() } else { text }
}

/// The JSON schema of a known type, otherwise its name.
fn schema<T: 'static>() -> Value {
    let of = TypeId::of::<T>();
    let is = |other: TypeId| of == other;
    if is(TypeId::of::<String>()) || is(TypeId::of::<&'static str>()) {
        json!({ "type": "string" })
    } else if is(TypeId::of::<bool>()) {
        json!({ "type": "boolean" })
    } else if [
        TypeId::of::<i32>(),
        TypeId::of::<i64>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
    ]
    .contains(&of)
    {
        json!({ "type": "integer" })
    } else if is(TypeId::of::<f64>()) || is(TypeId::of::<f32>()) {
        json!({ "type": "number" })
    } else if is(TypeId::of::<Vec<String>>()) {
        json!({ "type": "array", "items": { "type": "string" } })
    } else if is(TypeId::of::<Vars>()) {
        json!({ "type": "object" })
    } else if is(TypeId::of::<()>()) {
        json!({ "type": "null" })
    } else if is(TypeId::of::<Value>()) || is(TypeId::of::<Item>()) {
        json!({})
    } else if is(TypeId::of::<Message>()) || is(TypeId::of::<Prompt>()) {
        json!({ "title": short_name(std::any::type_name::<T>()), "type": "object" })
    } else {
        json!({ "title": std::any::type_name::<T>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake::Fake;
    use crate::{Chain, chain, parallel, prompt, router, step, text};

    fn article() -> Chain<Vars, String> {
        let model = Fake::echo().model();
        let outline = (prompt("Outline {{ topic }}") | &model).named("outline");
        let section = prompt("Section {{ input }}") | &model | text();
        let polish = router(
            |text: &String| if text.len() > 9 { "long" } else { "short" },
            [
                ("long", step(|text: String, _| async move { Ok(text) }).named("cut")),
                ("short", step(|text: String, _| async move { Ok(text) }).named("pad \"it\" <b>")),
            ],
        );
        let both = parallel((
            outline.lines().each(section.named("section")).join("\n"),
            (prompt("Title for {{ topic }}") | &model | text())
                .fallback([chain(crate::Template::parse("x").unwrap()) | &model | text()]),
        ));
        both | step(|(body, title): (String, String), _| async move { Ok(format!("{title}\n{body}")) })
            | polish
    }

    #[test]
    fn a_chain_draws_itself_as_a_tree() {
        insta::assert_snapshot!(article().graph().to_ascii());
    }

    #[test]
    fn public_types_implement_debug() {
        let chain = prompt("{{ x }}") | Fake::echo();
        assert_eq!(format!("{chain:?}"), "Chain(prompt | fake/echo)");
        assert_eq!(format!("{:?}", chain.clone().lines()), "Many(prompt | fake/echo | lines)");
        let run = chain.stream(crate::vars! { x: 1 });
        assert_eq!(format!("{run:?}"), "Run { ended: false, .. }");
        let template = crate::Template::parse("Hello {{ x }}").unwrap();
        assert_eq!(format!("{template:?}"), "Template { text: \"Hello {{ x }}\", partials: [] }");
    }

    #[test]
    fn a_chain_draws_itself_in_mermaid() {
        insta::assert_snapshot!(article().graph().to_mermaid());
    }

    #[test]
    fn a_graph_has_the_schemas_of_input_and_output() {
        let graph = (prompt("{{ a }} {{ b.c }}") | Fake::echo() | text()).graph();
        assert_eq!(
            *graph.input_schema(),
            json!({ "type": "object", "properties": { "a": {}, "b": {} }, "required": ["a", "b"] })
        );
        assert_eq!(*graph.output_schema(), json!({ "type": "string" }));
        struct Mine;
        let mine = step(|_: Mine, _| async { Ok(vec![1u8]) }).graph();
        assert!(mine.input_schema()["title"].as_str().unwrap().ends_with("Mine"));
    }

    #[test]
    fn models_are_counted_wherever_a_step_calls_them() {
        let fake = || chain(Fake::echo());
        let model = || Fake::echo().model();
        let draft = || prompt("{{ x }}") | Fake::echo();
        let agent = |rounds| model().with_tools(crate::Tools::new()).run_tools(rounds);
        let items = || crate::passthrough::<Vec<Prompt>>().many();
        let to_prompt = step(|answer: Message, _| async move { Ok(Prompt::from(answer.text())) });
        let cases = [
            (fake().graph(), 1),
            ((fake() | to_prompt.clone() | Fake::echo()).graph(), 2),
            (fake().named("f").timeout(std::time::Duration::MAX).retry(Default::default()).graph(), 1),
            (fake().fallback([fake() | to_prompt | Fake::echo()]).graph(), 2),
            (parallel((fake(), fake(), fake())).graph(), 3),
            (items().each(fake()).collect().graph(), 2),
            (draft().lines().each(draft()).collect().graph(), 3),
            (items().each_and_all(fake(), step(|_: Vec<Prompt>, _| async { Ok(()) })).graph(), 2),
            (chain(agent(1)).graph(), 1),
            (chain(agent(4)).graph(), 2),
            (agent(4).transcript().graph(), 2),
            ((chain(agent(4)) | text()).through(|_| futures::stream::empty()).graph(), 2),
            (chain(crate::repair(text(), &model(), 2)).graph(), 0),
            (crate::repaired(&model(), text(), 2).graph(), 1),
        ];
        for (graph, models) in cases {
            assert_eq!(graph.root.models(), models, "{graph}");
        }
    }

    #[test]
    fn calls_that_are_added_survive_a_sequence() {
        let two = || Node::sequence([Node::step("a"), Node::step("b")]).with_models(2);
        let all = Node::around("all", [Node::sequence([Node::model("c"), two()]), two()]);
        assert_eq!(all.named("x").with_models(1).models(), 6);
    }

    #[test]
    fn a_deep_and_a_wide_chain_can_be_drawn() {
        let add = || step(|n: u32, _| async move { Ok(n + 1) });
        let deep = (0..500).fold(add(), |chain, _| chain | add());
        assert_eq!(deep.graph().to_ascii().lines().count(), 501);
        let wide = router(|_: &u32| "0", (0..500).map(|i| (i.to_string(), add())));
        assert_eq!(wide.graph().to_mermaid().matches("-->").count(), 500);
    }
}
