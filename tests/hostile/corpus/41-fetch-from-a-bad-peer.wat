;; Makes an HTTP request without a timeout or a bound of its own, and says how it went: the kind of error, or
;; 1000 and the bytes of the body.
(module
  (import "sonde:sensor/http@0.1.0" "fetch"
    (func $fetch (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "sonde:sensor/state@0.1.0" "store" (func $store (param i32 i32) (result i32)))
  (memory (export "memory") 200)
  (data (i32.const 512) "/")
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
    (call $fetch (i32.const 0) (i32.const 1) (i32.const 512) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const -1) (i32.const -1) (i32.const 256))
    (if (i32.load8_u (i32.const 256))
      (then (call $found (i64.load8_u (i32.const 260))))
      (else (call $found (i64.add (i64.const 1000) (i64.load32_u (i32.const 276))))))
    (i32.const 64))
)
