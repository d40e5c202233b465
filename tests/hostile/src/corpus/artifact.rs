//! Rows 25 and 30: what a file says that it is, and what it asks for.

use super::files::*;
use super::{not_described, not_linked, refused};
use crate::guest::{Defence, Expected, Fact, Guest, Peer};

/// `denied`, as the world's errors number it.
const DENIED: Fact = Fact::Found { least: 3, most: 3 };

pub(super) fn guests() -> Vec<Guest> {
    vec![
        Guest::file(G25A_DATA_FAR_AWAY, "no image is made of what is far away", Expected::Succeeds),
        Guest::file(G25B_DATA_PAST_THE_END, "it traps as the instance is made", not_described("")),
        Guest::file(G25C_ELEMENTS_PAST_THE_END, "it traps as the instance is made", not_described("")),
        Guest::file(G30A_NOT_ASKED_FOR, "the check before compiling names it", refused("does not ask for `tcp`"))
            .peer(Peer::Silent)
            // It is let in, the grant holds nothing, and the call is refused.
            .without(&[Defence::Asking], Expected::Succeeds),
        Guest::file(G30B_ANOTHER_PORT, "each call is held against the grant", Expected::Succeeds)
            .asks("tcp = [1]")
            .peer(Peer::Silent)
            .facts(&[DENIED, Fact::Sockets(0)]),
        Guest::file(G30C_FOREIGN_IMPORT, "the world has no such door", refused("not part of the world")),
        Guest::file(G30D_ANOTHER_VERSION, "the world has no such door", refused("not part of the world"))
            .asks("tcp = [1]"),
        Guest::file(G30E_RIGHT_NAME_WRONG_TYPE, "what is linked has its type", not_linked("clock")),
        Guest::file(G30F_MORE_THAN_THERE_IS, "what is linked has its functions", not_linked("set")),
        Guest::file(G30G_IMPORTED_RESOURCE_TYPE, "nothing of the name is linked", not_linked("anything")),
        Guest::file(G30H_EXPORTS_OF_ANOTHER_TYPE, "exports have the world's types", not_linked("")),
        Guest::file(G30I_HIDDEN_MANIFEST, "what is inside does not speak for the sensor", refused("no manifest"))
            .without_manifest(),
        Guest::file(G30J_IMPORTED_COMPONENT, "the world has no such door", refused("not part of the world")),
        Guest::file(G30K_SECRET_NOT_GRANTED, "a secret has to be named", Expected::Succeeds)
            .asks("secrets = [\"mine\"]")
            .facts(&[Fact::Found { least: 0, most: 0 }]),
        Guest::file(G30L_FILE_OUTSIDE_THE_GRANT, "a path with dots is nobody's", Expected::Succeeds)
            .asks("files = [\"/etc/app/conf\", \"/etc/app/*\"]")
            .facts(&[DENIED]),
    ]
}
