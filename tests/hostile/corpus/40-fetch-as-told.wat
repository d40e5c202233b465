;; Makes the HTTP request that its configuration says, and says how it went: the kind of error, or the status. 5
;; is that the node calls the request malformed.
(module
  (import "sonde:sensor/config@0.1.0" "get" (func $config (param i32 i32 i32)))
  (import "sonde:sensor/http@0.1.0" "fetch"
    (func $fetch (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "sonde:sensor/state@0.1.0" "store" (func $store (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 512) "pathhostheadervalue")
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
    (call $config (i32.const 512) (i32.const 4) (i32.const 256))
    (call $config (i32.const 516) (i32.const 4) (i32.const 272))
    (call $config (i32.const 520) (i32.const 6) (i32.const 288))
    (call $config (i32.const 526) (i32.const 5) (i32.const 304))
    ;; the list of headers, if there is one: name, value
    (i64.store (i32.const 320) (i64.load (i32.const 292)))
    (i64.store (i32.const 328) (i64.load (i32.const 308)))
    (call $fetch (i32.const 0) (i32.const 1)
      (i32.load (i32.const 260)) (i32.load (i32.const 264))
      (i32.load (i32.const 276)) (i32.load (i32.const 280))
      (i32.const 320) (i32.ne (i32.load (i32.const 324)) (i32.const 0))
      (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 1000) (i32.const 384))
    (if (i32.load8_u (i32.const 384))
      (then (call $found (i64.load8_u (i32.const 388))))
      (else (call $found (i64.load16_u (i32.const 388)))))
    (i32.const 64))
)
