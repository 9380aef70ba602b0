//! Yields the items of a JSON array, each as soon as it is complete.

use std::future::ready;

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
pub(super) fn items<I: Send + 'static, T>(chain: Chain<I, Message>) -> Many<I, T>
where
    T: DeserializeOwned + Send + 'static,
{
    let node = Node::sequence([chain.describe(), Node::step("items")]);
    Many::new(node, move |input, cx| {
        let reader =
            Reader { run: Run::new(chain.clone(), input, cx), values: ValueStream::of_items(), ended: false };
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
        let cut_off = || Error::new(ErrorKind::Parse, "expected a complete JSON array");
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
    async fn an_item_of_the_wrong_type_is_the_last_one() {
        let read: Vec<_> = chain(Fake::echo()).items::<u8>().stream("[1, \"two\", 3]").collect().await;
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].as_ref().unwrap_err().kind(), ErrorKind::Parse);
    }
}
