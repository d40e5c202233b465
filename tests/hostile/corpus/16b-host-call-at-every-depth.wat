;; Recurses for ever and calls the node at every depth, so that one call is made at the very edge of the guest's
;; stack.
(module
  (import "sonde:sensor/log@0.1.0" "write" (func $log (param i32 i32 i32)))
  (import "sonde:sensor/config@0.1.0" "get" (func $config (param i32 i32 i32)))
  (import "sonde:sensor/tcp@0.1.0" "connect" (func $connect (param i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 32) "k")
  (func $down
    (call $log (i32.const 1) (i32.const 32) (i32.const 1))
    (call $config (i32.const 32) (i32.const 1) (i32.const 256))
    (global.set $heap (i32.const 4096))
    (call $connect (i32.const 1) (i32.const 1000) (i32.const 256))
    (call $down)
    (drop (i32.load (i32.const 0))))
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (call $down)
    unreachable)
)
