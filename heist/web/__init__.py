"""The browser's side: control, the live log, the pages, and the guard in front of them."""
