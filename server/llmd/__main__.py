from llmd.cli.main import main

raise SystemExit(main())
