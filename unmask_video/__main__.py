"""`python -m unmask_video` is `unmask-video`."""

from unmask_video.cli import main

if __name__ == "__main__":
    main()
