//! Custom resources of group `tegata.dev`, exactly as on the wire: no logic.
