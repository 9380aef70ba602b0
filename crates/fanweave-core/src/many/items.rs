//! Yields the items of a JSON array, each as soon as it is complete.

use std::future::ready;
use std::sync::Arc;

use futures::{StreamExt, stream};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::chain::Chain;
use crate::many::Many;
use crate::parse::path_message;
use crate::parse::value_stream::ValueStream;
use crate::run::Run;
use crate::{Error, ErrorKind, Message, Node, Result, Runnable};

/// Reads an answer item by item.
pub(super) fn items<I: Send + 'static, T>(chain: Chain<I, Message>, field: Option<Arc<str>>) -> Many<I, T>
where
    T: DeserializeOwned + Send + 'static,
{
    let step = field.as_ref().map_or_else(|| "items".to_owned(), |field| format!("items of `{field}`"));
    let node = Node::sequence([chain.describe(), Node::step(step)]);
    Many::new(node, move |input, cx| {
        let values = field.clone().map_or_else(ValueStream::of_items, ValueStream::of_items_in);
        let reader =
            Reader { run: Run::new(chain.clone(), input, cx), values, field: field.clone(), ended: false };
        stream::unfold(reader, |mut reader| async move {
            let items = reader.next().await?;
            Some((stream::iter(items.into_iter().map(read)), reader))
        })
        .flatten()
        .scan(false, |failed, item| {
            // An error is the last item.
            let item = (!*failed).then_some(item);
            *failed |= matches!(item, Some(Err(_)));
            ready(item)
        })
    })
}

struct Reader {
    run: Run<Message>,
    values: ValueStream,
    field: Option<Arc<str>>,
    ended: bool,
}

impl Reader {
    /// The items that are complete now. The answer is read to its end, so that its usage is known.
    async fn next(&mut self) -> Option<Vec<Result<Value>>> {
        if self.ended {
            return None;
        }
        match self.run.next().await {
            Some(Ok(delta)) => {
                return Some(self.values.take_items(&delta).into_iter().map(Ok).collect());
            }
            Some(Err(error)) => {
                self.ended = true;
                return Some(vec![Err(error)]);
            }
            None => self.ended = true,
        }
        let cut_off = || {
            let of_field = self.field.as_ref().map(|field| format!(" in the field `{field}`"));
            let message = format!("expected a complete JSON array{}", of_field.unwrap_or_default());
            Error::new(ErrorKind::Parse, message)
        };
        let mut items: Vec<_> = self.values.last_items().into_iter().map(Ok).collect();
        if !self.values.items_ended() {
            items.push(Err(cut_off()));
        }
        Some(items)
    }
}

fn read<T: DeserializeOwned>(item: Result<Value>) -> Result<T> {
    let item = item?;
    T::deserialize(&item).map_err(|error| {
        let message = format!(
            "expected an item of {}: {}",
            std::any::type_name::<T>(),
            path_message::<T>(&item, &error)
        );
        Error::new(ErrorKind::Parse, message).with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use crate::model::fake::Fake;
    use crate::{ErrorKind, chain};

    #[tokio::test]
    async fn items_of_the_first_array_arrive_and_an_incomplete_one_is_an_error() {
        let answer = r#"Here: {"n": 3, "items": [1, 2, 3 ], "more": [4]}"#;
        let items = chain(Fake::echo()).items::<u8>();
        assert_eq!(items.clone().collect().invoke(answer).await.unwrap(), [1, 2, 3]);
        let read: Vec<_> = items.stream("[1, 2").collect().await;
        assert_eq!(*read[0].as_ref().unwrap(), 1);
        assert_eq!(read[1].as_ref().unwrap_err().kind(), ErrorKind::Parse);
    }

    #[tokio::test]
    async fn items_of_a_named_list_arrive_one_by_one_and_a_missing_list_is_an_error() {
        let answer = r#"```json
{"tags": ["x"], "inner": {"steps": [9]}, "steps": [1, 2], "more": [3]}
```"#;
        let steps = chain(Fake::echo()).items_of::<u8>("steps");
        assert_eq!(steps.clone().collect().invoke(answer).await.unwrap(), [1, 2]);
        let first = steps.stream(r#"{"tags": [], "steps": [1, 2"#).next().await;
        assert_eq!(first.unwrap().unwrap(), 1);
        for other in ["[1, 2]", r#"{"tags": [1]}"#, r#"{"steps": 1}"#] {
            let error = steps.clone().collect().invoke(other).await.unwrap_err();
            assert_eq!(error.message(), "expected a complete JSON array in the field `steps`", "{other}");
        }
    }

    #[tokio::test]
    async fn an_item_of_the_wrong_type_is_the_last_one() {
        let read: Vec<_> = chain(Fake::echo()).items::<u8>().stream("[1, \"two\", 3]").collect().await;
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].as_ref().unwrap_err().kind(), ErrorKind::Parse);
    }
}
