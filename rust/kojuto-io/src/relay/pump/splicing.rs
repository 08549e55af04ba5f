//! Moving bytes without copying them: from the source into a pipe, and on.

use super::super::endpoint::Side;
use super::pipes::PIPE_BYTES;
use super::{Pump, SMALL, SMALL_IN_A_ROW, Tools, Turn};
use crate::error::no_such_call;

impl Pump {
    /// The source and how much it may give, when both sides can do without copying.
    pub(super) fn open_pipe(
        &mut self,
        from: &mut Side,
        to: &Side,
        tools: &mut Tools,
    ) -> Option<(i32, usize)> {
        if from.urgent {
            return None;
        }
        to.end.splice_sink()?;
        let source = from.end.splice_source()?;
        if self.pipe.is_none() {
            self.pipe = tools.pipes.take();
        }
        self.pipe.as_ref().map(|_| source)
    }

    /// One splice into the empty pipe and, as far as the sink takes it, out of it.
    pub(super) fn splice(
        &mut self,
        source: i32,
        limit: usize,
        from: &mut Side,
        to: &mut Side,
    ) -> Result<(), Turn> {
        let Some(pipe) = &self.pipe else { return Ok(()) };
        let count = match pipe.fill(source, PIPE_BYTES.min(limit)) {
            Ok(0) => {
                self.splicing = false; // the next read says what kind of end this is
                return Ok(());
            }
            Ok(count) => count,
            Err(error) if no_such_call(&error) => {
                self.splicing = false; // copying serves too
                return Ok(());
            }
            Err(error) => return self.source_refused(error, from),
        };
        from.end.spliced_out(count);
        self.streak = if count < SMALL { self.streak + 1 } else { 0 };
        if self.streak >= SMALL_IN_A_ROW {
            self.streak = 0;
            self.splicing = false;
        }
        self.in_pipe = count;
        self.drain(to).map_err(Turn::SinkFailed)
    }

    /// An idle direction holds no pipe.
    pub(super) fn give_back(&mut self, tools: &mut Tools) {
        if self.in_pipe == 0
            && let Some(pipe) = self.pipe.take()
        {
            tools.pipes.give(pipe);
        }
    }
}
