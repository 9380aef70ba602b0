//! Functions used by the expansion of `prompt!`.

use serde::Serialize;
use serde_json::Value;

use crate::{Chain, Error, ErrorKind, Prompt, Template, Vars, step};

/// Serialises a value for a template.
pub fn value(value: &impl Serialize) -> Value {
    serde_json::to_value(value)
        .unwrap_or_else(|error| panic!("a value of a prompt cannot be serialised: {error}"))
}

/// Renders a template that the macro has checked against its variables.
pub fn filled<const N: usize>(template: &str, given: [(&str, Value); N]) -> Prompt {
    let vars: Vars = given.into_iter().collect();
    let text = Template::parse(template).and_then(|template| template.render(&vars));
    text.unwrap_or_else(|error| panic!("{error}")).into()
}

/// A step that renders a template, which the macro has checked against the fields of `T`.
pub fn typed<T: Serialize + Send + 'static>(template: &str) -> Chain<T, Prompt> {
    let template = Template::parse(template);
    step(move |fields: T, _| {
        let ready = template.clone().and_then(|template| {
            let vars = Vars::from_serialize(&fields)
                .map_err(|error| Error::new(ErrorKind::Input, error.message().to_owned()))?;
            Ok((template, vars))
        });
        async move {
            let (template, vars) = ready?;
            template.render_async(&vars).await.map(Prompt::from)
        }
    })
    .named("prompt")
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use crate::{ErrorKind, Prompt, prompt};

    #[test]
    fn values_are_given_by_name_or_expression() {
        let tags = vec!["a", "b"];
        let n = 2;
        let prompt: Prompt = prompt!(
            "{% for tag in tags %}{{ loop.index }}{{ tag }}{% endfor %} {{ half }} {{ range(n) | list }}",
            tags,
            n,
            half = f64::from(n) / 4.0,
        );
        assert_eq!(prompt.messages[0].text(), "1a2b 0.5 [0, 1]");
        let r#type = "song";
        assert_eq!(
            prompt!("A {{ type }} in {{ move }}.", r#type, r#move = 4).messages[0].text(),
            "A song in 4."
        );
        assert_eq!(prompt!("No variables.").messages[0].text(), "No variables.");
    }

    #[tokio::test]
    async fn fields_are_given_by_a_struct_and_the_function_stays() {
        #[derive(Serialize)]
        struct Ask {
            r#type: &'static str,
            user: User,
        }
        #[derive(Serialize)]
        struct User {
            name: &'static str,
        }
        let question = prompt!(Ask => "{{ type }} for {{ user.name }}");
        let song = question.invoke(Ask { r#type: "A song", user: User { name: "{{ Ada }}" } }).await.unwrap();
        assert_eq!(song.messages[0].text(), "A song for {{ Ada }}");
        let error = prompt("{{ missing }}").invoke(crate::Vars::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
    }
}
