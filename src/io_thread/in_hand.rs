//! What requests a process has in hand, for the operator who asks what holds a drain.

use super::IoThread;
use crate::control::proto::{InHand, seconds};
use crate::control::server::Ticket;
use crate::table::ToMaster;

impl IoThread {
    pub(super) fn tell_requests(&self, ticket: Ticket) {
        let requests = self.clients.iter().filter_map(|(_, client)| {
            let (exchange, request) = (&client.session.as_ref()?.exchange, client.conn.request.as_ref()?);
            Some(InHand {
                app: self.name.app.clone(),
                number: self.name.number,
                generation: self.name.generation,
                class: exchange.class().word().to_owned(),
                line: request.line(),
                client: request.client.map(|client| client.to_string()),
                seconds: seconds(self.desk.now.saturating_duration_since(request.since)),
                received: exchange.received(),
                unsent: client.conn.output.unread(),
            })
        });
        let overdue = self.overdue.iter().map(|overdue| InHand {
            app: self.name.app.clone(),
            number: self.name.number,
            generation: self.name.generation,
            class: "overdue".to_owned(),
            line: overdue.line.clone(),
            client: None,
            seconds: seconds(self.desk.now.saturating_duration_since(overdue.since)),
            received: overdue.received,
            unsent: 0,
        });
        let requests = requests.chain(overdue).collect();
        if let Ok(wake) = self.shared.master.send(ToMaster::InHand(ticket, self.id, requests)) {
            wake.wake();
        }
    }
}
