//! A connection on which everything that the host sends has come already, for the fuzz target `http`.

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

/// Connects to these octets, behind which the connection ends.
#[derive(Debug)]
pub(super) struct Canned(pub(super) Vec<u8>);

impl Connector<()> for Canned {
    type Out = CannedTransport;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<CannedTransport>, Error> {
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        let octets = self.0.clone();
        Ok(Some(CannedTransport { buffers, octets, at: 0 }))
    }
}

#[derive(Debug)]
pub(super) struct CannedTransport {
    buffers: LazyBuffers,
    octets: Vec<u8>,
    at: usize,
}

impl Transport for CannedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, _: usize, _: NextTimeout) -> Result<(), Error> {
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let rest = &self.octets[self.at..];
        let room = self.buffers.input_append_buf();
        let amount = rest.len().min(room.len());
        room[..amount].copy_from_slice(&rest[..amount]);
        self.buffers.input_appended(amount);
        self.at += amount;
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        true
    }

    fn is_tls(&self) -> bool {
        true
    }
}
