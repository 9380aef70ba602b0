//! Identity of a chain file, for journals.

use fanweave_core::__private::sorted;
use serde_json::{Value, json};

use super::ChainFile;
use super::spanned::Spanned;
use super::spec::{Action, Shape, Step, Terms};
use crate::OnError;
use crate::batch::Fingerprint;

impl ChainFile {
    /// Identity of the chain for a journal: what changes its answers. Comments, layout, the order of fields,
    /// the name and the limits of the file do not. Models are part of it by name, and files by their text.
    ///
    /// Journals of the previous version of fanweave, whose identity was the text of the file, are recognised.
    ///
    /// ```
    /// use fanweave::ChainFile;
    ///
    /// let read = |text: &str| ChainFile::parse("a.yaml", text).map(|file| file.fingerprint());
    /// let short = read("steps: { a: { prompt: Hello, temperature: 0.5 } }")?;
    /// let long = read("# Greets.\nsteps:\n  a:\n    temperature: 0.5\n    prompt: Hello\n")?;
    /// assert_eq!(short.values(), long.values());
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn fingerprint(&self) -> Fingerprint {
        let mut fingerprint =
            Fingerprint::new().set("output", self.spec.steps[self.output].name.value.as_str());
        if let Some(model) = &self.spec.model {
            fingerprint = fingerprint.set("model", model.value.as_str());
        }
        // Only if they are there: journals of earlier versions do not have them.
        let names = |names: &[Spanned<String>]| {
            names.iter().map(|name| name.value.as_str()).collect::<Vec<_>>().join(", ")
        };
        for (name, all) in [("outputs", &self.spec.outputs), ("fallback", &self.spec.fallback)] {
            if !all.is_empty() {
                fingerprint = fingerprint.set(name, names(all));
            }
        }
        for (name, default) in self.inputs() {
            let default = default.map_or("required".to_owned(), |value| sorted(value.clone()).to_string());
            fingerprint = fingerprint.set(format!("input {name}"), default);
        }
        for step in &self.spec.steps {
            let value = sorted(step.to_value()).to_string();
            fingerprint = fingerprint.set(format!("step {}", step.name.value), value);
        }
        let files = self.files().map(|(path, text)| (format!("file {path}"), text.to_owned()));
        fingerprint
            .formerly(1, std::iter::once(("chain".to_owned(), self.text.clone())).chain(files).collect())
    }
}

impl Step {
    /// Everything that changes the answers of the step.
    fn to_value(&self) -> Value {
        let text = |text: &Option<Spanned<String>>| text.as_ref().map(|text| text.value.clone());
        let action = match &self.action {
            Action::Call { messages, model, parameters, output, .. } => json!({
                "messages": messages.iter().map(|(role, text)| json!({ "role": role, "text": text.value })).collect::<Vec<_>>(),
                "model": text(model),
                "parameters": parameters,
                "output": match output {
                    Shape::Text => json!("text"),
                    Shape::Lines => json!("lines"),
                    Shape::Json => json!("json"),
                    Shape::Schema(schema) => schema.clone(),
                },
            }),
            Action::Template(template) => json!({ "template": template.value }),
        };
        let on_error = match self.on_error {
            OnError::Skip => "skip",
            OnError::Null => "null",
            _ => "fail",
        };
        let mut value = json!({
            "action": action,
            "for_each": text(&self.for_each),
            "when": text(&self.when),
            "on_error": on_error,
            "timeout_ms": self.timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        });
        let texts = |all: &[Spanned<String>]| all.iter().map(|text| text.value.clone()).collect::<Vec<_>>();
        if let Action::Call { terms: Terms { fallback: Some(fallback), .. }, .. } = &self.action {
            value["fallback"] = texts(fallback).into();
        }
        if !self.asserts.is_empty() {
            value["assert"] = texts(&self.asserts).into();
        }
        value
    }
}
