//! How many clients there are at a time. If one more comes, the oldest goes: a fetch takes less than a second, and one that holds
//! a connection for longer is a flood or has been answered.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::task::AbortHandle;

/// The connections that are open.
pub(crate) struct Crowd {
    most: usize,
    open: Rc<Cell<usize>>,
    /// The oldest first. Those that have ended are forgotten now and then.
    clients: RefCell<VecDeque<AbortHandle>>,
}

/// A place in the crowd, which is free again when this is dropped.
pub(crate) struct Seat(Rc<Cell<usize>>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Crowd {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            open: Rc::default(),
            clients: RefCell::default(),
        }
    }

    /// A place for one more.
    pub(crate) fn seat(&self) -> Seat {
        if self.open.get() >= self.most {
            self.sends_away_the_oldest();
        }
        self.open.set(self.open.get() + 1);
        Seat(self.open.clone())
    }

    /// The task of the newest client.
    pub(crate) fn add(&self, task: AbortHandle) {
        let mut clients = self.clients.borrow_mut();
        if clients.len() > 2 * self.most {
            clients.retain(|client| !client.is_finished());
        }
        clients.push_back(task);
    }

    /// Ends the oldest connection.
    pub(crate) fn sends_away_the_oldest(&self) {
        let mut clients = self.clients.borrow_mut();
        while let Some(oldest) = clients.pop_front() {
            if !oldest.is_finished() {
                oldest.abort();
                return;
            }
        }
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }
}
