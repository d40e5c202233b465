;; Reads a file beside the one that it may, by a path with dots, and says how it went: 3 is that it was denied.
(module
  (import "sonde:sensor/files@0.1.0" "read" (func $file (param i32 i32 i64 i32 i32)))
  (import "sonde:sensor/state@0.1.0" "store" (func $store (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 32) "/etc/app/../../etc/shadow00")
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  ;; What it saw, left as its state.
  (func $found (param i64)
    (i64.store (i32.const 128) (local.get 0))
    (drop (call $store (i32.const 128) (i32.const 8))))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (call $file (i32.const 32) (i32.const 26) (i64.const 0) (i32.const 100) (i32.const 256))
    (if (i32.load8_u (i32.const 256))
      (then (call $found (i64.load8_u (i32.const 260))))
      (else (call $found (i64.const -1))))
    (i32.const 64))
)
