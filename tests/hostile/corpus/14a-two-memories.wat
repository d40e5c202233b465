;; Attached to an honest sensor: one more core instance with a memory of 15.9 MiB. Either alone is within the
;; class, both together are not.
(component
  (core module $m (memory 255))
  (core instance (instantiate $m)))
