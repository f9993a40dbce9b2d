//! What DNS says of next hops, for as long as that may be kept. One question for each is under way at a time, however many
//! ask.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mtasts::sender::mta::socketmap::NextHop;
use tokio::sync::OnceCell;

/// How many next hops are kept.
const MOST: usize = 10_000;

/// What was learnt, and until when it is kept.
struct Kept<T> {
    learnt: Rc<T>,
    until: Instant,
}

type Cell<T> = Rc<OnceCell<Kept<T>>>;

/// The memory of one kind of knowledge.
pub(crate) struct Memory<T>(RefCell<HashMap<NextHop, Cell<T>>>);

impl<T> Memory<T> {
    pub(crate) fn new() -> Self {
        Self(RefCell::default())
    }

    /// What is known now.
    pub(crate) fn known(&self, next_hop: &NextHop) -> Option<Rc<T>> {
        let cells = self.0.borrow();
        let kept = cells.get(next_hop)?.get()?;
        (Instant::now() < kept.until).then(|| kept.learnt.clone())
    }

    /// What a question learns, with the time for which it may be kept; nothing if there is no answer in time.
    pub(crate) async fn ask(
        &self,
        next_hop: &NextHop,
        deadline: Instant,
        question: impl AsyncFnOnce() -> (T, Duration),
    ) -> Option<Rc<T>> {
        let cell = self.cell(next_hop);
        let kept = cell.get_or_init(|| async {
            let (learnt, time) = question().await;
            Kept {
                learnt: Rc::new(learnt),
                until: Instant::now() + time,
            }
        });
        // The question of another caller may have been begun with more time.
        let kept = tokio::time::timeout_at(deadline.into(), kept).await.ok()?;
        Some(kept.learnt.clone())
    }

    /// The cell of a next hop, empty if what it had is too old.
    fn cell(&self, next_hop: &NextHop) -> Cell<T> {
        let mut cells = self.0.borrow_mut();
        let now = Instant::now();
        let is_fresh = |cell: &Cell<T>| cell.get().is_none_or(|kept| now < kept.until);
        if let Some(cell) = cells.get(next_hop).filter(|cell| is_fresh(cell)) {
            return cell.clone();
        }
        if cells.len() >= MOST {
            cells.retain(|_, cell| is_fresh(cell));
        }
        // A crowd of strangers' domains costs questions, and no memory.
        if cells.len() >= MOST {
            cells.clear();
        }
        let cell = Cell::default();
        cells.insert(next_hop.clone(), cell.clone());
        cell
    }
}
