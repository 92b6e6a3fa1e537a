"""From video and sound files to data sets of frames with sound: decoding, cutting, writing.

`decode` reads one file, in a child process that `children` starts and ends; `cut` makes records of what it found;
`listen` hears many sounds that way;
`build` keeps what is done and writes the data set, `card` what is in it; `commands` are the commands of
launch/prepare.py. Training reads the result by `xmjax.data.clips` and needs nothing of this.
"""
