<?php $password = "not for everybody";
