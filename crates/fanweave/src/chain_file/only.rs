//! A part of a chain file: one step, and those that it needs.

use serde_json::Value;

use super::check::{Checked, Source};
use super::spanned::Spanned;
use super::spec::unknown_step;
use super::{ChainFile, ELSEWHERE};
use crate::{Error, ErrorKind, Result};

impl ChainFile {
    /// Keeps only a step and those that it needs, and makes its output that of the chain. Inputs that none of
    /// them reads are not required any more.
    ///
    /// ```
    /// use fanweave::ChainFile;
    ///
    /// let text = "
    /// inputs: { topic: null, tone: null }
    /// steps:
    ///   outline: { prompt: 'Outline {{ topic }}' }
    ///   draft: { prompt: 'Write {{ steps.outline.output }}, {{ tone }}' }
    ///   title: { prompt: 'Name {{ steps.outline.output }}' }
    /// ";
    /// let file = ChainFile::parse("a.yaml", text)?.with_only("title")?;
    /// assert_eq!(file.steps().collect::<Vec<_>>(), ["outline", "title"]);
    /// assert!(ChainFile::parse("a.yaml", text)?.with_only("titel").is_err());
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if there is no such step.
    pub fn with_only(mut self, name: &str) -> Result<Self> {
        let names: Vec<_> = self.steps().map(str::to_owned).collect();
        let Some(at) = names.iter().position(|step| step == name) else {
            let message = format!("{}: {}", self.file, unknown_step(name, &names));
            return Err(Error::new(ErrorKind::Config, message));
        };
        let checked = self.checked();
        let (mut is_needed, mut waiting) = (vec![false; names.len()], vec![at]);
        while let Some(step) = waiting.pop() {
            if !std::mem::replace(&mut is_needed[step], true) {
                waiting.extend(checked[step].waits_for.iter().copied());
                if let Some(Source::Step(source, _)) = &checked[step].source {
                    waiting.push(*source);
                }
            }
        }
        let needed = is_needed.iter().zip(&checked).filter_map(|(is_needed, step)| is_needed.then_some(step));
        let reads: Vec<String> = needed.flat_map(Checked::reads).collect();
        let is_read = |input: &str| {
            reads.iter().any(|path| {
                let mut words = path.split('.');
                match (words.next(), words.next()) {
                    (Some("inputs"), None) => true,
                    (Some("inputs"), Some(name)) => name == input,
                    (first, _) => first == Some(input),
                }
            })
        };
        for input in &mut self.spec.inputs {
            if !is_read(&input.name) {
                input.default.get_or_insert(Value::Null);
            }
        }
        let mut kept = is_needed.into_iter();
        self.spec.steps.retain(|_| kept.next().unwrap_or_default());
        self.spec.output = Some(Spanned::new(ELSEWHERE, name.to_owned()));
        self.spec.outputs.clear();
        let at = self.steps().position(|step| step == name);
        self.output = at.expect("it was kept");
        Ok(self)
    }
}
